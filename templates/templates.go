// Package templates holds the files that provision writes, each with one typed render function, and the plain data that
// the command and the node agent tell each other: Node, Payload and Status.
package templates

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"text/template"
)

//go:embed files
var files embed.FS

// render fills in one of the embedded files. Every value that is not a number goes through the function quote, which
// makes it one YAML (and JSON) string, whatever is in it.
func render(name string, data any) ([]byte, error) {
	text, err := files.ReadFile("files/" + name)
	if err != nil {
		return nil, err
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{"quote": quote}).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// static returns one of the embedded files that has nothing to fill in.
func static(name string) []byte {
	b, err := files.ReadFile("files/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return b
}

func quote(v any) (string, error) {
	b, err := json.Marshal(fmt.Sprint(v))
	return string(b), err
}
