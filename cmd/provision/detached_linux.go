package main

import "syscall"

// detached starts a program in a session of its own: what a person types to this one does not reach it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
