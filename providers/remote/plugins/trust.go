package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A trust is the word of a person that a program may run.
type trust struct {
	SHA256 string `json:"sha256"`
	Path   string `json:"path"` // where it was then
	Time   string `json:"time"`
}

// trustFile is what the file holds.
type trustFile struct {
	Version int              `json:"version"`
	Plugins map[string]trust `json:"plugins"`
}

// trusted reads the file. One that is not there trusts nobody.
func (p Place) trusted() (map[string]trust, error) {
	data, err := os.ReadFile(p.Trust)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]trust{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("file of trusted plug-ins: %w", err)
	}
	if what := unsafe(p.Trust); what != "" {
		return nil, &Refusal{Reason: Unsafe, Found: Found{"trust", p.Trust}, What: "the file of trusted plug-ins " + what}
	}
	var f trustFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("file of trusted plug-ins %s: %w", p.Trust, err)
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("file of trusted plug-ins %s: its version is %d; this program knows version 1", p.Trust, f.Version)
	}
	if f.Plugins == nil {
		f.Plugins = map[string]trust{}
	}
	return f.Plugins, nil
}

// Trusted says whether exactly this program is trusted on this machine, and its SHA-256.
func (p Place) Trusted(f Found) (sum string, ok bool, err error) {
	sum, err = Sum(f.Path)
	if err != nil {
		return "", false, err
	}
	all, err := p.trusted()
	return sum, err == nil && all[f.Name].SHA256 == sum, err
}

// TrustIt writes down that exactly this program may run under its name, in the place of what was trusted before, and
// returns its SHA-256. A *Refusal if others can change it.
func (p Place) TrustIt(f Found) (string, error) {
	if what := unsafe(f.Path); what != "" {
		return "", &Refusal{Reason: Unsafe, Found: f, What: what}
	}
	sum, err := Sum(f.Path)
	if err != nil {
		return "", err
	}
	return sum, p.change(func(all map[string]trust) {
		all[f.Name] = trust{SHA256: sum, Path: f.Path, Time: time.Now().UTC().Format(time.RFC3339)}
	})
}

// Forget takes the trust in a name away; it says whether there was any.
func (p Place) Forget(name string) (had bool, err error) {
	return had, p.change(func(all map[string]trust) {
		_, had = all[name]
		delete(all, name)
	})
}

// change writes the file anew, at once or not at all, for its owner only.
func (p Place) change(edit func(map[string]trust)) error {
	folder := filepath.Dir(p.Trust)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	unlock, err := lock(p.Trust + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	all, err := p.trusted()
	if err != nil {
		return err
	}
	edit(all)
	data, err := json.MarshalIndent(trustFile{1, all}, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, filepath.Base(p.Trust)+".*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), p.Trust)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
