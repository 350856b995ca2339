package state

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// temporary is the pattern of files that are about to become others.
const temporary = ".tmp-*"

// writeFile puts a file in place whole, 0600, and on disk, or leaves what was there.
func writeFile(path string, b []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporary)
	if err != nil {
		return pathError(path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = pathError(path, err)
		}
	}()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// sweepOld removes from a folder what processes that died in writeFile have left: files of those patterns that are so old
// that nobody is about to make something of them.
func sweepOld(dir string, patterns ...string) {
	in, _ := os.ReadDir(dir)
	for _, e := range in {
		for _, p := range patterns {
			if ok, _ := filepath.Match(p, e.Name()); !ok || !e.Type().IsRegular() {
				continue
			}
			if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > time.Minute {
				os.Remove(filepath.Join(dir, e.Name()))
			}
		}
	}
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// readFile reads a file of ours, after a look at who else can.
func readFile(path string) ([]byte, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	return b, pathError(path, err)
}

// checkFolder refuses a folder that is not its user's alone.
func checkFolder(dir string) error {
	fi, err := os.Stat(dir)
	if err == nil && !fi.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return pathError(dir, err)
	}
	return exposed(dir, fi)
}

// checkReplaceable refuses a folder in which others could replace a file.
func checkReplaceable(dir string) error {
	fi, err := os.Stat(dir)
	if err == nil && fi.Mode().Perm()&0o022 != 0 && fi.Mode()&fs.ModeSticky == 0 {
		return &ExposedError{Path: dir, Mode: fi.Mode().Perm(), Owner: int(fi.Sys().(*syscall.Stat_t).Uid), Folder: true}
	}
	return pathError(dir, err)
}

// checkFile refuses what is no file or not its user's alone.
func checkFile(path string) error {
	fi, err := os.Lstat(path)
	return checkInfo(path, fi, err)
}

// checkFileIn is checkFile of a name in a folder that is open.
func checkFileIn(root *os.Root, name, path string) error {
	fi, err := root.Lstat(name)
	return checkInfo(path, fi, err)
}

func checkInfo(path string, fi fs.FileInfo, err error) error {
	if err != nil {
		return pathError(path, err)
	}
	if !fi.Mode().IsRegular() {
		return &AccessError{Path: path, Err: errors.New("it is not a regular file")}
	}
	return exposed(path, fi)
}

func exposed(path string, fi fs.FileInfo) error {
	owner := int(fi.Sys().(*syscall.Stat_t).Uid)
	if fi.Mode().Perm()&0o077 != 0 || owner != os.Geteuid() {
		return &ExposedError{Path: path, Mode: fi.Mode().Perm(), Owner: owner, Folder: fi.IsDir()}
	}
	return nil
}

// machineID tells this machine from others, without giving away the ID that other programs use. It is empty where the
// system has none, as many containers.
func machineID() string {
	b, err := os.ReadFile("/etc/machine-id")
	id := strings.TrimSpace(string(b))
	if err != nil || len(id) != 32 {
		return ""
	}
	h := hmac.New(sha256.New, []byte(id))
	h.Write([]byte("provision state"))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return h
}
