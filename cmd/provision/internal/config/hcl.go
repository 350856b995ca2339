package config

import (
	"bytes"
	"fmt"
	"regexp"
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
	return diag.Range{File: r.Filename, Source: sourceLine(line), Start: start, End: end}
}

// maxSource is how much of a line a range carries, in bytes.
const maxSource = 1000

func sourceLine(line []byte) string {
	if len(line) > maxSource {
		line = line[:maxSource]
	}
	return strings.ToValidUTF8(strings.TrimRight(string(line), "\r"), "\uFFFD")
}

func clamp(p hcl.Pos, src []byte) diag.Pos {
	return diag.Pos{Line: max(p.Line, 1), Column: max(p.Column, 1), Byte: min(max(p.Byte, 0), len(src))}
}

// maxFindings is how much of what the parser finds is shown: in a file that is something else, each byte can be wrong.
const maxFindings = 20

// fromHCL turns the parser's findings into ours. An attribute that is there twice is the only one that the parser sees
// and that is no error of syntax.
func (l *loader) fromHCL(hds hcl.Diagnostics, id diag.ID, in string) diag.Diagnostics {
	var ds diag.Diagnostics
	for i, h := range hds {
		if len(ds) == maxFindings {
			ds[len(ds)-1].Detail += fmt.Sprintf("\n\nThe parser found %d more, which may all come from these.", len(hds)-i)
			break
		}
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
		ds = append(ds, l.diag(as, r, in, "%s", words(h, as)))
	}
	return ds
}

// words is what the parser says, as full sentences.
func words(h *hcl.Diagnostic, id diag.ID) string {
	detail := strings.TrimSpace(h.Detail)
	if id != diag.BadExpression { // there an argument is one of a function
		detail = strings.NewReplacer("argument", "attribute", "Argument", "Attribute").Replace(detail)
	}
	if detail == "" {
		detail = h.Summary
	}
	if !strings.HasSuffix(detail, ".") && !strings.HasSuffix(detail, "?") {
		detail += "."
	}
	if id == diag.DuplicateAttribute {
		return regexp.MustCompile(`:(\d+),[\d-]+`).ReplaceAllString(detail, ":$1")
	}
	if h.Summary == "" || h.Summary == h.Detail {
		return detail
	}
	return fmt.Sprintf("%s. %s", h.Summary, detail)
}
