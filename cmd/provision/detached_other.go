//go:build !linux

package main

import "syscall"

// detached is for Linux only, as boxes are.
func detached() *syscall.SysProcAttr { return nil }
