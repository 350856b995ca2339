package field

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	smallest = 576 // bytes of a packet that every path carries
	headers  = 28  // bytes of IP and UDP
	headers6 = 48
)

// mtu finds peers to which packets of a size do not get whole: mtu TOKEN PORT SIZE TRIES ADDRESS…. It says for each of them
// the largest size that does, in bytes with all headers; 0 if none was answered.
func mtu(r *request, args []string) (string, error) {
	size, err := strconv.Atoi(args[2])
	if err != nil {
		return "", err
	}
	tries, err := strconv.Atoi(args[3])
	if err != nil {
		return "", err
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, peer := range args[4:] {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if n := largest(peer, args[1], args[0], size, tries); n < size {
				r.say(peer, strconv.Itoa(n))
			}
		})
	}
	all.Wait()
	return "", nil
}

// largest finds the size of the largest packet up to size that is answered.
func largest(peer, port, token string, size, tries int) int {
	fits := func(n int) bool { return whole(peer, port, token, n, tries) }
	if fits(size) {
		return size
	}
	if !fits(smallest) {
		return 0
	}
	low, high := smallest, size // low fits, high does not
	for high-low > 1 {
		if mid := (low + high) / 2; fits(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// whole says whether a packet of n bytes is answered that no one on its way may cut in pieces.
func whole(peer, port, token string, n, tries int) bool {
	over, level, option, value := headers, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
	if strings.Contains(peer, ":") {
		over, level, option, value = headers6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
	}
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) })
		return err
	}}
	c, err := d.Dial("udp", net.JoinHostPort(peer, port))
	if err != nil {
		return false
	}
	defer c.Close()
	for try := 1; try <= tries; try++ {
		if ok, _ := echo(c, token, n-over, time.Duration(try)*datagramWait/2); ok {
			return true
		}
	}
	return false
}
