package doctor

import (
	_ "embed" // the script
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed survey.sh
var surveyScript string

// facts are what survey.sh told of a machine: values by key, in order.
type facts map[string][]string

// parseFacts reads what survey.sh wrote.
func parseFacts(text string) (facts, error) {
	f := facts{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if ok {
			f[key] = append(f[key], value)
		}
	}
	if f.one("end") == "" {
		return nil, fmt.Errorf("the answer is cut short")
	}
	return f, nil
}

func (f facts) one(key string) string {
	if len(f[key]) == 0 {
		return ""
	}
	return strings.TrimSpace(f[key][0])
}

func (f facts) number(key string) int64 {
	n, err := strconv.ParseInt(f.one(key), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (f facts) has(key, value string) bool { return slices.Contains(f[key], value) }

func (f facts) words(key string) []string { return strings.Fields(strings.Join(f[key], " ")) }

// kernel says whether the kernel can do what has that name in its configuration, or that module; known is false when neither
// could be read.
func (f facts) kernel(config, module string) (able, known bool) {
	if module != "" && f.has("module", module) {
		return true, true
	}
	if len(f["config"]) == 0 {
		return false, false
	}
	if f.has("config", config+" y") {
		return true, true
	}
	// A module that is configured and cannot be found is not installed, where there is a way to tell.
	return f.has("config", config+" m") && (module == "" || !f.has("tool", "modprobe")), true
}

// A disk is the file system that a folder is or will be on.
type disk struct {
	path    string
	free    int64 // bytes
	inodes  int   // percent in use; -1 if not known
	ro      bool
	at      string
	device  string
	kind    string
	options []string
}

func (f facts) disks() []disk {
	var ds []disk
	for _, v := range f["disk"] {
		w := strings.Fields(v)
		if len(w) < 5 {
			continue
		}
		d := disk{path: w[0], inodes: -1, ro: w[3] == "ro", at: w[4]}
		d.free, _ = strconv.ParseInt(w[1], 10, 64)
		d.free <<= 10
		if n, err := strconv.Atoi(w[2]); err == nil {
			d.inodes = n
		}
		if len(w) >= 8 {
			d.device, d.kind, d.options = w[5], w[6], strings.Split(w[7], ",")
		}
		d.ro = d.ro || slices.Contains(d.options, "ro")
		ds = append(ds, d)
	}
	return ds
}

// A route is a line of the machine's routing table.
type route struct {
	to  netip.Prefix
	dev string
}

// routes returns all but the default routes.
func (f facts) routes() []route {
	var rs []route
	for _, v := range f["route"] {
		w := strings.Fields(v)
		if len(w) < 4 {
			continue
		}
		dst, err1 := hex.DecodeString(w[0])
		mask, err2 := hex.DecodeString(w[1])
		if err1 != nil || err2 != nil || len(dst) != 4 || len(mask) != 4 {
			continue
		}
		slices.Reverse(dst)
		bits := 0
		for m := binary.LittleEndian.Uint32(mask); m != 0; m &= m - 1 {
			bits++
		}
		if bits > 0 {
			rs = append(rs, route{netip.PrefixFrom(netip.AddrFrom4([4]byte(dst)), bits), w[3]})
		}
	}
	return rs
}

// listening returns the programs by port that is listened on for others; "" if its name is not known.
func (f facts) listening() map[int]string {
	ports := map[int]string{}
	for _, v := range f["listen"] {
		addr, port, _ := strings.Cut(v, ":")
		n, err := strconv.ParseInt(port, 16, 32)
		if err == nil && !strings.HasSuffix(addr, "7F") || strings.HasPrefix(addr, "0000") {
			ports[int(n)] = ""
		}
	}
	for _, v := range f["listener"] {
		port, users, _ := strings.Cut(v, " ")
		n, err := strconv.Atoi(port)
		if _, open := ports[n]; err == nil && open {
			_, rest, _ := strings.Cut(users, `"`)
			ports[n], _, _ = strings.Cut(rest, `"`)
		}
	}
	return ports
}

// A belonging says which cluster a machine is a node of.
type belonging struct {
	Cluster string `json:"cluster"`
	Owner   string `json:"owner"`
	UID     string `json:"uid"`
	Name    string `json:"name"`
}

func (f facts) belongs(key string) *belonging {
	if f.one(key) == "" {
		return nil
	}
	b := new(belonging)
	if err := json.Unmarshal([]byte(f.one(key)), b); err != nil {
		return new(belonging)
	}
	return b
}

// moment reads a time as date +%s.%N tells it.
func moment(s string) (t time.Time, exact bool, err error) {
	whole, frac, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, false, err
	}
	nsec, ferr := strconv.ParseInt(frac, 10, 64)
	if ferr != nil {
		return time.Unix(sec, 5e8), false, nil // half a second is what a clock without fractions is wrong by, in the middle
	}
	return time.Unix(sec, nsec), true, nil
}
