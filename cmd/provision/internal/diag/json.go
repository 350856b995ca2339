package diag

import "encoding/json"

// Schema is the version of the JSON form of diagnostics.
const Schema = 1

// fields is Diagnostic without its methods.
type fields Diagnostic

// MarshalJSON writes the diagnostic with its summary and the exit code it leads to.
func (d Diagnostic) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		fields
		Summary string `json:"summary"`
		Exit    int    `json:"exit_code"`
	}{fields(d), d.Summary(), Diagnostics{d}.ExitCode()})
}

// JSON returns the diagnostics as one document: {"schema": 1, "exit_code": 2, "diagnostics": […]}. Reading it back into
// Diagnostics gives the same, but for what they wrapped.
func JSON(ds Diagnostics) ([]byte, error) {
	if ds == nil {
		ds = Diagnostics{}
	}
	return json.Marshal(struct {
		Schema      int         `json:"schema"`
		Exit        int         `json:"exit_code"`
		Diagnostics Diagnostics `json:"diagnostics"`
	}{Schema, ds.ExitCode(), ds})
}
