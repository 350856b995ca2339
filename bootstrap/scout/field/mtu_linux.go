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

// largest finds the size of a packet up to size that is answered, and near the largest.
func largest(peer, port, token string, size, tries int) int {
	over, level, option, value := headers, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
	if strings.Contains(peer, ":") {
		over, level, option, value = headers6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
	}
	// No one on the way may cut these packets in pieces.
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) })
		return err
	}}
	c, err := d.Dial("udp", net.JoinHostPort(peer, port))
	if err != nil {
		return 0
	}
	defer c.Close()
	for range tries {
		if ok, _ := echo(c, token, size-over, datagramWait); ok {
			return size
		}
	}
	best := 0
	for range tries {
		for _, n := range sizes(size) {
			b := make([]byte, n-over)
			copy(b, token)
			c.Write(b)
		}
		best = max(best, answered(c, token, datagramWait)+over)
	}
	if best == over {
		return 0
	}
	return best
}

// sizes are those to try at once: all but the smallest in small steps near the top, where paths end, and in larger ones below.
func sizes(top int) []int {
	var all []int
	for n := top - 4; n > smallest; {
		all = append(all, n)
		if n > top-200 {
			n -= 4
		} else {
			n -= max(16, top/100)
		}
	}
	return append(all, smallest)
}

// answered is the size of the largest datagram that is answered before so long nothing comes.
func answered(c net.Conn, token string, wait time.Duration) int {
	best := 0
	for b := make([]byte, 256); ; {
		c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(b)
		if err != nil {
			return best
		}
		if size, ok := strings.CutPrefix(string(b[:n]), token+" "); ok {
			if n, err := strconv.Atoi(size); err == nil {
				best = max(best, n)
			}
		}
	}
}
