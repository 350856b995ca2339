//go:build !linux

package main

import "syscall"

// hideMemory keeps the secrets that the process holds in its memory: the system writes no core file of it, nor of what it
// starts.
func hideMemory() error { return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
