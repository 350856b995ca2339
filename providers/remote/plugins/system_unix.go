//go:build unix

package plugins

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// unsafe says who else than this user and root could change the file, or put another in its place: "" if nobody. Links
// are followed, as the program that runs is the one at their end.
func unsafe(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Sprintf("cannot be read: %v", err)
	}
	for _, start := range []string{path, real} {
		for p := start; ; p = filepath.Dir(p) {
			info, err := os.Lstat(p)
			if err != nil {
				return fmt.Sprintf("cannot be read: %v", err)
			}
			if what := writable(info); what != "" && info.Mode()&os.ModeSymlink == 0 {
				return fmt.Sprintf("%s %s", p, what)
			}
			if filepath.Dir(p) == p {
				break
			}
		}
	}
	return ""
}

// writable says who else can change the file or folder. In a sticky folder others can make files, but not replace ours.
func writable(info os.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	sticky := info.IsDir() && info.Mode()&os.ModeSticky != 0
	switch mode := info.Mode().Perm(); {
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Sprintf("belongs to another user (%d)", st.Uid)
	case mode&0o002 != 0 && !sticky:
		return fmt.Sprintf("can be written by everybody (mode %04o)", mode)
	case mode&0o020 != 0 && !sticky && st.Gid != 0 && int(st.Gid) != os.Getegid():
		return fmt.Sprintf("can be written by another group (%d, mode %04o)", st.Gid, mode)
	}
	return ""
}

// lock waits until no other process changes what the file stands for.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
