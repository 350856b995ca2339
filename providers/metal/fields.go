package metal

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fields are the attributes of one block, or the columns of one row, and those of them that were asked for.
type fields struct {
	c         *checker
	m         map[string]any
	at, where string
	known     []string
}

func newFields(c *checker, m map[string]any, at, where string) *fields {
	if r, ok := m["range"].(string); ok {
		where = r
	}
	return &fields{c: c, m: m, at: at, where: where, known: []string{"range"}}
}

// elsewhere is where a row of a file is: not in the provider's block.
const elsewhere = "-"

func (f *fields) bad(attribute, format string, args ...any) {
	switch {
	case strings.HasPrefix(f.at, elsewhere):
		f.c.add("", "", f.where, format, args...)
	case f.at == "":
		f.c.add(attribute, "", f.where, format, args...)
	default:
		f.c.add(f.at, attribute, f.where, format, args...)
	}
}

// place is where it is in the provider's block; empty if it is not.
func (f *fields) place() string {
	if strings.HasPrefix(f.at, elsewhere) {
		return ""
	}
	return f.at
}

// value returns an attribute that is not empty.
func (f *fields) value(name string) (any, bool) {
	f.known = append(f.known, name)
	v, ok := f.m[name]
	return v, ok && v != nil && v != ""
}

func (f *fields) text(name string) string {
	v, ok := f.value(name)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		f.bad(name, "%s has to be a text", name)
	}
	return strings.TrimSpace(s)
}

func (f *fields) path(name string) string { return expand(f.text(name)) }

func (f *fields) number(name string) int {
	v, ok := f.value(name)
	if !ok {
		return 0
	}
	switch n := v.(type) {
	case int64:
		return int(n)
	case float64:
		if n == float64(int(n)) {
			return int(n)
		}
	case string: // columns are texts
		if i, err := strconv.Atoi(strings.TrimSpace(n)); err == nil {
			return i
		}
	}
	f.bad(name, "%s has to be a whole number", name)
	return 0
}

func (f *fields) flag(name string, without bool) bool {
	v, ok := f.value(name)
	if !ok {
		return without
	}
	switch b := v.(type) {
	case bool:
		return b
	case string:
		if b, err := strconv.ParseBool(strings.TrimSpace(b)); err == nil {
			return b
		}
	}
	f.bad(name, "%s has to be true or false", name)
	return without
}

// texts returns an attribute that is a text or a list of texts.
func (f *fields) texts(name string) []string {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	if s, ok := v.(string); ok {
		return []string{strings.TrimSpace(s)}
	}
	list, ok := v.([]any)
	var all []string
	for _, e := range list {
		s, text := e.(string)
		ok = ok && text
		all = append(all, strings.TrimSpace(s))
	}
	if !ok {
		f.bad(name, "%s has to be a text or a list of texts", name)
		return nil
	}
	return all
}

func (f *fields) textMap(name string) map[string]string {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	all := map[string]string{}
	for k, e := range m {
		s, text := e.(string)
		ok = ok && text
		all[k] = s
	}
	if !ok {
		f.bad(name, "%s has to be a map of texts", name)
	}
	return all
}

func (f *fields) duration(name string) time.Duration {
	v := f.text(name)
	if v == "" {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 || d > time.Hour {
		f.bad(name, "%q is not a length of time up to an hour, like \"10s\"", v)
	}
	return d
}

// blocks returns the blocks of that type.
func (f *fields) blocks(name string) []*fields {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	var all []*fields
	for i, e := range list {
		m, block := e.(map[string]any)
		ok = ok && block
		at := fmt.Sprintf("%s[%d]", name, i)
		if f.at != "" {
			at = f.at + "." + at
		}
		all = append(all, newFields(f.c, m, at, f.where))
	}
	if !ok {
		f.bad(name, "%s has to be a block: %s { … }", name, name)
		return nil
	}
	return all
}

// done reports attributes that nobody asked for.
func (f *fields) done() {
	for _, name := range slices.Sorted(maps.Keys(f.m)) {
		if slices.Contains(f.known, name) {
			continue
		}
		known := slices.DeleteFunc(slices.Sorted(slices.Values(f.known)), func(k string) bool { return k == "range" || k == "name" })
		f.bad(name, "there is no attribute %q; there are %s", name, strings.Join(slices.Compact(known), ", "))
	}
}

// readFile reads an inventory of its own: CSV or JSON. One in HCL was read with the file that names it.
func readFile(c *checker, path string) ([]*fields, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch filepath.Ext(path) {
	case ".csv":
		return readCSV(c, f, path)
	case ".json":
		return readJSON(c, f, path)
	}
	return nil, fmt.Errorf("%s ends neither in .hcl nor in .csv nor in .json", path)
}

// readCSV reads one host per row. The first row names the columns: the attributes of a host block, bmc_address and so on
// for those of its bmc block. Labels are written a=b;c=d. Empty cells are left out. What spreadsheets write is taken too: a byte
// order mark, and semicolons between the columns where a comma is the decimal point.
func readCSV(c *checker, r io.Reader, path string) ([]*fields, error) {
	text := bufio.NewReader(r)
	if mark, _ := text.Peek(3); string(mark) == "\ufeff" {
		_, _ = text.Discard(3)
	}
	in := csv.NewReader(text)
	in.Comma = separator(text)
	in.Comment, in.TrimLeadingSpace = '#', true
	header, err := in.Read()
	if err == io.EOF {
		return nil, fmt.Errorf("%s is empty: its first row names the columns, like name,address,user", path)
	}
	var all []*fields
	for err == nil {
		var row []string
		if row, err = in.Read(); err != nil {
			break
		}
		line, _ := in.FieldPos(0)
		all = append(all, newFields(c, cells(header, row), elsewhere, fmt.Sprintf("%s:%d", path, line)))
	}
	if err != io.EOF {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// separator is what stands between the columns' names; they hold neither commas nor semicolons.
func separator(text *bufio.Reader) rune {
	start, _ := text.Peek(text.Size())
	for line := range strings.Lines(string(start)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.Contains(line, ";") && !strings.Contains(line, ",") {
			return ';'
		}
		break
	}
	return ','
}

// cells makes of a row what a block would be.
func cells(header, row []string) map[string]any {
	m, bmc := map[string]any{}, map[string]any{}
	for i, name := range header {
		name, value := strings.TrimSpace(name), strings.TrimSpace(row[i])
		part, ofBMC := strings.CutPrefix(name, "bmc_")
		switch {
		case value == "":
		case ofBMC:
			bmc[part] = value
		case name == "labels":
			labels := map[string]any{}
			for pair := range strings.SplitSeq(value, ";") {
				k, v, _ := strings.Cut(pair, "=")
				labels[strings.TrimSpace(k)] = strings.TrimSpace(v)
			}
			m[name] = labels
		default:
			m[name] = value
		}
	}
	if len(bmc) > 0 {
		m["bmc"] = []any{bmc}
	}
	return m
}

// readJSON reads a list of hosts, or an object that has it as "hosts". A bmc is an object.
func readJSON(c *checker, r io.Reader, path string) ([]*fields, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var list []map[string]any
	if err := json.Unmarshal(b, &list); err != nil {
		var whole struct{ Hosts []map[string]any }
		if json.Unmarshal(b, &whole) != nil || whole.Hosts == nil {
			return nil, fmt.Errorf("%s is no list of hosts in JSON: %w", path, err)
		}
		list = whole.Hosts
	}
	var all []*fields
	for i, m := range list {
		if bmc, ok := m["bmc"].(map[string]any); ok {
			m["bmc"] = []any{bmc}
		}
		all = append(all, newFields(c, m, elsewhere, fmt.Sprintf("%s, host %d", path, i+1)))
	}
	return all, nil
}
