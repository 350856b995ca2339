//go:build linux

package field

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	connect = 3 * time.Second        // that a peer gets to accept a connection: a lost packet is sent again after 1 s
	quiet   = 15 * time.Second       // without a byte after which a peer is given up
	told    = 200 * time.Millisecond // between two reports of progress
)

// fetch gets a file from a peer: fetch SHA256 SIZE PATH MODE TOKEN ADDRESS:PORT. What has come of it earlier is kept. It says
// how many bytes are there. The reasons of failures begin with a word: connect, refused, lost, mismatch, disk.
func (s *scout) fetch(r *request, args []string) (string, error) {
	sum, path, token, from := args[0], args[2], args[4], args[5]
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return "", err
	}
	mode, err := strconv.ParseUint(args[3], 8, 32)
	if err != nil {
		return "", err
	}
	d, err := newDownload(path, size)
	if err != nil {
		return "", errors.New("disk: " + plain(err))
	}
	defer d.f.Close()
	d.say = func(n int64) { r.say(strconv.FormatInt(n, 10)) }
	if d.at < size {
		if err := d.get(from, token, sum); err != nil {
			return "", err
		}
	}
	if got := hex.EncodeToString(d.hash.Sum(nil)); got != sum {
		os.Remove(path + ".part")
		return "", errors.New("mismatch: arrived with SHA-256 " + got)
	}
	if err := d.f.Chmod(os.FileMode(mode)); err != nil {
		return "", errors.New("disk: " + plain(err))
	}
	if err := os.Rename(path+".part", path); err != nil {
		return "", errors.New("disk: " + plain(err))
	}
	s.have(nil, []string{sum}) // if it is on offer
	return "", nil
}

// A download is a file that comes from a peer.
type download struct {
	f    *os.File
	hash hash.Hash
	at   int64 // bytes that are there
	size int64
	say  func(int64)
}

// newDownload opens what is there of a file and reads it.
func newDownload(path string, size int64) (*download, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+".part", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	d := &download{f: f, hash: sha256.New(), size: size}
	d.at, err = io.Copy(d.hash, f)
	if err == nil && d.at > size {
		d.at, d.hash = 0, sha256.New()
		if err = f.Truncate(0); err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

// get reads the rest from a peer.
func (d *download) get(from, token, sum string) error {
	c, err := net.DialTimeout("tcp", from, connect)
	if err != nil {
		return errors.New("connect: " + plain(err))
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(greet))
	if _, err := io.WriteString(c, token+" "+sum+" "+strconv.FormatInt(d.at, 10)+"\n"); err != nil {
		return errors.New("lost: " + plain(err))
	}
	if answer := readLine(c); answer != "ok" {
		return errors.New("refused: the peer answers " + strconv.Quote(answer))
	}
	return d.copy(c)
}

func (d *download) copy(c net.Conn) error {
	var last time.Time
	for b := make([]byte, 256<<10); d.at < d.size; {
		c.SetDeadline(time.Now().Add(quiet))
		n, err := c.Read(b[:min(int64(len(b)), d.size-d.at)])
		if _, werr := d.f.Write(b[:n]); werr != nil {
			return errors.New("disk: " + plain(werr))
		}
		d.hash.Write(b[:n])
		d.at += int64(n)
		if err != nil && d.at < d.size {
			return errors.New("lost: after " + strconv.FormatInt(d.at, 10) + " bytes: " + plain(err))
		}
		if now := time.Now(); now.Sub(last) >= told {
			last = now
			d.say(d.at)
		}
	}
	return nil
}
