package crashtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
)

// Secrets opens all encrypted files of the state with the user's identity and returns the secrets in them by name; several of
// a name if files of a write that was cut off are there too. What it reads is the files' format, so that the program under
// test has no part in it. There may be none.
func (s *Site) Secrets() (map[string][]string, error) {
	all := map[string][]string{}
	key, err := os.ReadFile(s.Identity())
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	} else if err != nil {
		return nil, err
	}
	ids, err := age.ParseIdentities(bytes.NewReader(key))
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{s.State(), s.Elsewhere()} {
		if werr := openAll(dir, ids, all); err == nil {
			err = werr
		}
	}
	return all, err
}

func openAll(dir string, ids []age.Identity, all map[string][]string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (d.IsDir() || !strings.HasSuffix(path, ".age")) {
			return nil
		} else if err != nil {
			return err
		}
		in, err := openSecrets(path, ids)
		for name, value := range in {
			all[name] = append(all[name], value)
		}
		return err
	})
}

func openSecrets(path string, ids []age.Identity) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(b), ids...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var f struct{ Secrets map[string]string }
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f.Secrets, nil
}

// Lost names the secrets that were there before and are not, or are others, after.
func Lost(before, after map[string][]string) (lost []string) {
	for name, values := range before {
		if !slices.ContainsFunc(values, func(v string) bool { return slices.Contains(after[name], v) }) {
			lost = append(lost, name)
		}
	}
	return lost
}
