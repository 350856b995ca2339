//go:build linux

package local

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Names that this program goes by, as its first argument, when it is a part of a machine.
const (
	starterName         = "provision-start"
	supervisorName      = "provision-supervisor"
	initName            = "machine-init"
	balancerStarterName = "provision-start-balancer"
	balancerName        = "provision-balancer"
	freezerName         = "provision-freezer"
)

// Machine runs what a machine is made of, if the arguments (the program's own name first) say that this process is a part
// of one; it returns when the part has ended, with the exit code. A program that makes machines, or a test of one, must
// call it before anything else, as it is copied and run under these other names.
func Machine(args []string) (ran bool, code int) {
	if len(args) == 0 {
		return false, 0
	}
	switch name := filepath.Base(args[0]); name {
	case starterName:
		return true, startMain(supervisorName, 0, args[1:])
	case balancerStarterName:
		return true, startMain(balancerName, unix.CLONE_NEWNET, args[1:])
	case balancerName:
		return true, balancerMain(args[1:])
	case freezerName:
		return true, freezerMain()
	case supervisorName:
		return true, superviseMain(args[1:])
	case initName:
		if os.Getpid() != 1 {
			return true, powerMain(initName, args[1:])
		}
		return true, initMain()
	case DoorName:
		return true, complain(errors.New("this program has no doors"))
	case "reboot", "poweroff", "halt", "shutdown":
		if _, err := os.Stat(insideFile); err != nil {
			return false, 0
		}
		return true, powerMain(name, args[1:])
	}
	return false, 0
}
