// Package docs carries those documents that programs show.
package docs

import _ "embed" // for the documents

//go:embed errors.md
var errorsText string

// Errors is errors.md: a paragraph for each diagnostic.
func Errors() string { return errorsText }

//go:embed doctor.md
var doctorText string

// Doctor is doctor.md: a paragraph for each kind of finding.
func Doctor() string { return doctorText }
