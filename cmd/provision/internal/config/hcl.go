package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// diag makes a diagnostic that has a place in a file.
func (l *loader) diag(id diag.ID, r hcl.Range, in, format string, args ...any) diag.Diagnostic {
	place := l.place(r)
	return diag.New(id, format, args...).At(&place, in)
}

// place turns a range of the parser's into ours. It lies inside its file, whatever the parser said.
func (l *loader) place(r hcl.Range) diag.Range {
	src := l.sources[r.Filename]
	start, end := clamp(r.Start, src), clamp(r.End, src)
	if end.Byte < start.Byte {
		end = start
	}
	from := bytes.LastIndexByte(src[:start.Byte], '\n') + 1
	line := src[from:]
	if n := bytes.IndexByte(line, '\n'); n >= 0 {
		line = line[:n]
	}
	return diag.Range{File: r.Filename, Source: strings.TrimRight(string(line), "\r"), Start: start, End: end}
}

func clamp(p hcl.Pos, src []byte) diag.Pos {
	return diag.Pos{Line: max(p.Line, 1), Column: max(p.Column, 1), Byte: min(max(p.Byte, 0), len(src))}
}

// fromHCL turns the parser's findings into ours. An attribute that is there twice is the only one that the parser sees
// and that is no error of syntax.
func (l *loader) fromHCL(hds hcl.Diagnostics, id diag.ID, in string) diag.Diagnostics {
	var ds diag.Diagnostics
	for _, h := range hds {
		if h.Severity != hcl.DiagError {
			continue
		}
		as := id
		if h.Summary == "Attribute redefined" {
			as = diag.DuplicateAttribute
		}
		var r hcl.Range
		if h.Subject != nil {
			r = *h.Subject
		}
		ds = append(ds, l.diag(as, r, in, "%s", words(h)))
	}
	return ds
}

// words is what the parser says, as full sentences.
func words(h *hcl.Diagnostic) string {
	detail := strings.TrimSpace(h.Detail)
	if detail == "" {
		detail = h.Summary
	}
	if !strings.HasSuffix(detail, ".") && !strings.HasSuffix(detail, "?") {
		detail += "."
	}
	if h.Summary == "" || h.Summary == h.Detail || h.Summary == "Attribute redefined" {
		return detail
	}
	return fmt.Sprintf("%s. %s", h.Summary, detail)
}
