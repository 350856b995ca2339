//go:build !linux

package main

import "os"

// secretFile makes a file that only its owner can read. The child gets it as its descriptor 3, too; the file has a name,
// and the caller removes it.
func secretFile(content []byte) (path string, f *os.File, err error) {
	f, err = os.CreateTemp("", "kubeconfig-*") // mode 0600
	if err != nil {
		return "", nil, err
	}
	if _, err := f.Write(content); err != nil {
		f.Close()
		os.Remove(f.Name())
		return "", nil, err
	}
	return f.Name(), f, nil
}

// removeNamed removes what secretFile left on the disk.
func removeNamed(path string) { os.Remove(path) }
