package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/apparentlymart/go-textseg/v15/textseg"
	"github.com/hashicorp/hcl/v2"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// diag makes a diagnostic that has a place in a file.
func (l *loader) diag(id diag.ID, r hcl.Range, in, format string, args ...any) diag.Diagnostic {
	place := l.place(r)
	return diag.New(id, format, args...).At(&place, in)
}

// place turns a range of the parser's into ours. It lies inside its file: only the parser's bytes are used, since its
// lines and columns go wrong where characters do that it does not expect.
func (l *loader) place(r hcl.Range) diag.Range {
	src := l.sources[r.Filename]
	start := position(src, r.Start.Byte)
	end := position(src, max(r.End.Byte, start.Byte))
	line := src[lineStart(src, start.Byte):]
	if n := bytes.IndexByte(line, '\n'); n >= 0 {
		line = line[:n]
	}
	return diag.Range{File: r.Filename, Source: sourceLine(line), Start: start, End: end}
}

// position is where a byte is, or the end of the file if it is beyond.
func position(src []byte, at int) diag.Pos {
	at = min(max(at, 0), len(src))
	from := lineStart(src, at)
	characters, err := textseg.TokenCount(src[from:at], textseg.ScanGraphemeClusters)
	if err != nil {
		characters = at - from
	}
	return diag.Pos{Line: bytes.Count(src[:at], []byte{'\n'}) + 1, Column: characters + 1, Byte: at}
}

func lineStart(src []byte, at int) int { return bytes.LastIndexByte(src[:at], '\n') + 1 }

// maxSource is how much of a line a range carries, in bytes.
const maxSource = 1000

func sourceLine(line []byte) string {
	if len(line) > maxSource {
		line = line[:maxSource]
	}
	return strings.ToValidUTF8(strings.TrimRight(string(line), "\r"), "\uFFFD")
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
