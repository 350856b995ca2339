package mount

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// sys is the kernel's folder of a block device.
func sys(dev uint64) string {
	return fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))
}
