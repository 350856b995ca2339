//go:build !unix

package plugins

// unsafe finds nothing: this system's rights are not modes. The checksum is all that guards the program here.
func unsafe(string) string { return "" }

// lock does nothing: of two who trust at the same time, one may have to do it again.
func lock(string) (unlock func(), err error) { return func() {}, nil }
