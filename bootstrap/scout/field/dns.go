//go:build linux

package field

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	dnsTries = 2
	dnsWait  = 1500 * time.Millisecond
)

// dns asks a name server for a name's address: dns ADDRESS NAME. It answers the server's code: 0 found, 3 no such name.
func dns(_ *request, args []string) (string, error) {
	c, err := net.Dial("udp", net.JoinHostPort(args[0], "53"))
	if err != nil {
		return "", errors.New(plain(err))
	}
	defer c.Close()
	query := []byte{0x5c, 0x07, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // its number, a question, recursion wanted
	for label := range strings.SplitSeq(strings.Trim(args[1], "."), ".") {
		label = label[:min(len(label), 63)]
		query = append(append(query, byte(len(label))), label...)
	}
	query = append(query, 0, 0, 1, 0, 1)
	answer := make([]byte, 1500)
	last := "silent"
	for range dnsTries {
		if _, err := c.Write(query); err != nil {
			last = how(err)
			continue
		}
		c.SetReadDeadline(time.Now().Add(dnsWait))
		n, err := c.Read(answer)
		if err == nil && n >= 12 && answer[0] == query[0] && answer[1] == query[1] {
			return strconv.Itoa(int(answer[3] & 15)), nil
		}
		if err != nil {
			last = how(err)
		}
	}
	return "", errors.New(last)
}
