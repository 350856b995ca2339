package power

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// freePort is a UDP port on the loopback address that nobody has now.
func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// serve starts a program that pretends to be a BMC, until the test ends.
func serve(t *testing.T, pkg, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs %s of the package %s: %v", name, pkg, err)
	}
	c := exec.Command(path, args...)
	c.Dir = t.TempDir()
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", name, out.String())
		}
	})
}

// chassisScript is what the simulator asks for the machine's power and sets it by.
const chassisScript = `#!/bin/sh
cd "$(dirname "$0")"
do=$1
shift
while [ $# -gt 0 ]; do
	case $do in
	get) echo "$1:$(cat "$1" 2>/dev/null || echo 0)"; shift ;;
	set) echo "$2" >"$1"; shift 2 ;;
	*) exit 0 ;;
	esac
done
`

// ipmiSim starts OpenIPMI's simulator; the machine that it switches is a file.
func ipmiSim(t *testing.T) BMC {
	port := freePort(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	chassis := write("chassis", chassisScript)
	if err := os.Chmod(chassis, 0o700); err != nil {
		t.Fatal(err)
	}
	lan := write("lan.conf", fmt.Sprintf(`name "sim"
set_working_mc 0x20
startlan 1
  addr 127.0.0.1 %d
  priv_limit admin
  allowed_auths_admin none md2 md5 straight
  guid a123456789abcdefa123456789abcdef
endlan
chassis_control "%s"
user 1 true "" "test" user 10 none md2 md5 straight
user 2 true "ops" "secret" admin 10 none md2 md5 straight
`, port, chassis))
	emu := write("sim.emu", "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 1000 0x0a\nmc_enable 0x20\n")
	serve(t, "openipmi", "ipmi_sim", "-c", lan, "-f", emu, "-s", dir, "-n")
	return BMC{Address: fmt.Sprintf("127.0.0.1:%d", port), Protocol: IPMI, User: "ops", Password: "secret"}
}

// fakeBMC starts pyghmi's.
func fakeBMC(t *testing.T) BMC {
	port := freePort(t)
	serve(t, "python3-pyghmi", "fakebmc", "--port", fmt.Sprint(port))
	return BMC{Address: fmt.Sprintf("127.0.0.1:%d", port), Protocol: IPMI, User: "admin", Password: "password"}
}

// TestSwitch turns machines on and off through BMCs that others wrote, and through Redfish.
func TestSwitch(t *testing.T) {
	for name, start := range map[string]func(*testing.T) BMC{"ipmi_sim": ipmiSim, "fakebmc": fakeBMC, "redfish": redfishBMC} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			until(t, func() error { _, err := Ask(ctx, b); return err })
			for _, step := range []struct {
				do   Action
				want State
			}{{TurnOff, Off}, {TurnOn, On}, {TurnOn, On}, {TurnOff, Off}, {Cycle, On}, {TurnOff, Off}} {
				got, err := Switch(ctx, b, step.do)
				if err != nil || got != step.want {
					t.Fatalf("%s: got %q, %v, want %s", step.do, got, err, step.want)
				}
				if got, err := Ask(ctx, b); err != nil || got != step.want {
					t.Fatalf("after %s it is %q, %v", step.do, got, err)
				}
			}
		})
	}
}

// until tries until it succeeds: the BMC has just been started.
func until(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func TestNextBoot(t *testing.T) {
	for name, start := range map[string]func(*testing.T) BMC{"fakebmc": fakeBMC, "redfish": redfishBMC} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			until(t, func() error { _, err := Ask(t.Context(), b); return err })
			c, err := Open(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, d := range []Device{PXE, Disk} {
				if err := c.NextBoot(t.Context(), d); err != nil {
					t.Errorf("%s: %v", d, err)
				}
			}
		})
	}
}

func TestIPMIErrors(t *testing.T) {
	b := ipmiSim(t)
	until(t, func() error { _, err := Ask(t.Context(), b); return err })
	wrong, away := b, b
	wrong.Password = "guess"
	away.Address = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	for name, tt := range map[string]struct {
		b    BMC
		want error
	}{"wrong password": {wrong, ErrDenied}, "nobody there": {away, ErrUnreachable}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if _, err := Switch(ctx, tt.b, TurnOn); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			} else if strings.Contains(err.Error(), tt.b.Password) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for words, b := range map[string]BMC{
		"":                        {Address: "a", Protocol: IPMI},
		"no address":              {Protocol: IPMI},
		"known are":               {Address: "a", Protocol: "telnet"},
		"are for Redfish":         {Address: "a", Protocol: IPMI, Insecure: true},
		"IPMI knows 20":           {Address: "a", Protocol: IPMI, Password: strings.Repeat("x", 21)},
		"whoever listens gets":    {Address: "http://a", Protocol: Redfish},
		"protocol is \"\", known": {Address: "a"},
	} {
		err := b.Check()
		if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
			t.Errorf("%+v: %v, want %q", b, err, words)
		}
	}
}
