package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// Limits of a file, so that no file can exhaust the machine that reads it.
const (
	maxFile  = 128 << 10 // bytes
	maxDepth = 100       // brackets within brackets, or signs before one value
)

// varsSuffix ends the names of files that hold values of variables: they are read only when somebody asks for them.
const varsSuffix = ".vars.hcl"

// inventorySuffix ends the names of files that hold more of a provider's block: only that block reads them.
const inventorySuffix = ".inventory.hcl"

// A file is one that has been parsed.
type file struct {
	name string
	body *hclsyntax.Body
}

// start is the file's very beginning: the place of what should be there and is not.
func (f file) start() hcl.Range {
	return hcl.Range{Filename: f.name, Start: hcl.InitialPos, End: hcl.InitialPos}
}

// read reads and parses a file or all files of a folder.
func (l *loader) read(path string) []file {
	names := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if names = l.folder(path); len(names) == 0 {
			return nil
		}
	}
	var files []file
	for _, name := range names {
		if src, ok := l.readFile(name, "the cluster"); ok {
			files = append(files, l.parse(name, src))
		}
	}
	return files
}

// folder lists the files of a folder that make a cluster.
func (l *loader) folder(path string) []string {
	entries, err := os.ReadDir(path)
	if err != nil {
		l.report(unreadable(path, "the cluster", err))
		return nil
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); strings.HasSuffix(n, ".hcl") && !strings.HasSuffix(n, varsSuffix) && !strings.HasSuffix(n, inventorySuffix) && !strings.HasPrefix(n, ".") && !e.IsDir() {
			names = append(names, filepath.Join(path, n))
		}
	}
	if len(names) == 0 {
		l.report(diag.New(diag.FileNotFound, "The folder %s holds no file that ends in .hcl, so there is no cluster to read.", path).
			Next("Write a file to start from:", "provision init"))
	}
	return names
}

// readFile reads one file whole; what says what it should hold.
func (l *loader) readFile(name, what string) ([]byte, bool) {
	src, err := readLimited(name)
	if errors.Is(err, errTooLarge) {
		l.report(diag.Wrap(err, diag.FileTooLarge, "%s is larger than %d KiB, so it cannot be %s.", name, maxFile>>10, what))
		return nil, false
	}
	if err != nil {
		l.report(unreadable(name, what, err))
		return nil, false
	}
	l.sources[name] = src
	return src, true
}

var errTooLarge = errors.New("file too large")

func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(src) > maxFile {
		err = errTooLarge
	}
	return src, err
}

// unreadable is the diagnostic for a file that cannot be read.
func unreadable(name, what string, err error) diag.Diagnostic {
	var p *fs.PathError
	reason := err.Error()
	if errors.As(err, &p) {
		reason = p.Err.Error()
	}
	if errors.Is(err, fs.ErrNotExist) {
		d := diag.Wrap(err, diag.FileNotFound, "There is no file %s to read %s from.", name, what)
		if what == "the cluster" {
			d = d.Next("Name another file, or write one to start from:", "provision init")
		}
		return d
	}
	return diag.Wrap(err, diag.FilePermission, "%s, which should hold %s, cannot be read: %s.", name, what, reason)
}

// parse parses a file. What is wrong with its syntax is reported.
func (l *loader) parse(name string, src []byte) file {
	l.sources[name] = src
	f := file{name: name, body: &hclsyntax.Body{}}
	if r, deep := tooDeep(name, src); deep {
		l.report(l.diag(diag.SyntaxError, r, "", "This is nested more than %d times.", maxDepth))
		return f
	}
	parsed, hds := hclsyntax.ParseConfig(bytes.Clone(src), name, hcl.InitialPos)
	l.report(l.fromHCL(hds, diag.SyntaxError, "")...)
	if parsed != nil {
		f.body = parsed.Body.(*hclsyntax.Body)
	}
	return f
}

// tooDeep finds brackets and signs that are nested so deep that parsing them would take more stack than there is.
func tooDeep(name string, src []byte) (hcl.Range, bool) {
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	depth, signs := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenBang, hclsyntax.TokenMinus:
			signs++
		case hclsyntax.TokenNewline, hclsyntax.TokenComment:
		default:
			signs = 0
		}
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
			depth--
		}
		if depth > maxDepth || signs > maxDepth {
			return t.Range, true
		}
	}
	return hcl.Range{}, false
}

// Plausible says whether text can be meant as a cluster's file: it has at least one block, whatever mistakes there are beside.
func Plausible(src []byte) bool {
	if len(src) > maxFile {
		return false
	}
	if _, deep := tooDeep("", src); deep {
		return false
	}
	parsed, _ := hclsyntax.ParseConfig(bytes.Clone(src), "", hcl.InitialPos)
	return parsed != nil && len(parsed.Body.(*hclsyntax.Body).Blocks) > 0
}
