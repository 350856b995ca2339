//go:build !unix

package plugins

// unsafe finds nothing: this system's rights are not modes. The checksum is all that guards the program here.
func unsafe(string) string { return "" }
