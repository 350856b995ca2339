//go:build linux

package local

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// powerMain is reboot, poweroff, halt and shutdown inside a machine. They ask process 1, or with -f the kernel.
func powerMain(name string, args []string) int {
	reboot, force, err := parsePower(name, args)
	if err != nil {
		return complain(fmt.Errorf("%s: %w", name, err))
	}
	if force {
		how := unix.LINUX_REBOOT_CMD_POWER_OFF
		if reboot {
			how = unix.LINUX_REBOOT_CMD_RESTART
		}
		err = unix.Reboot(how)
	} else {
		sig := unix.SIGTERM
		if reboot {
			sig = unix.SIGINT
		}
		err = unix.Kill(1, sig)
	}
	if err != nil {
		return complain(fmt.Errorf("%s: %w", name, err))
	}
	fmt.Fprintln(os.Stderr, name+": the machine is going down now")
	return 0
}

// parsePower understands what is in use of the options of the programs of these names.
func parsePower(name string, args []string) (reboot, force bool, err error) {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&reboot, "r", name == "reboot", "reboot")
	f.BoolVar(&reboot, "reboot", name == "reboot", "reboot")
	var off bool
	for _, o := range []string{"h", "H", "P", "p", "halt", "poweroff"} {
		f.BoolVar(&off, o, false, "power off")
	}
	f.BoolVar(&force, "f", false, "at once, without stopping services")
	f.BoolVar(&force, "force", false, "at once, without stopping services")
	if err := f.Parse(args); err != nil {
		return false, false, err
	}
	switch name {
	case "reboot", "poweroff", "halt", "shutdown":
	default:
		return false, false, errors.New("run it as reboot, poweroff, halt or shutdown")
	}
	if name == "shutdown" && f.NArg() > 0 && f.Arg(0) != "now" && f.Arg(0) != "+0" {
		return false, false, fmt.Errorf("time %q: only now is understood", strings.Join(f.Args(), " "))
	}
	return reboot && !off, force, nil
}
