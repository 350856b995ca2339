package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Confirm asks the question and reads one line. Only the word yes means yes; the end of the input is a no. The error is that
// of reading or writing, or of ctx if it ends first: then the line that comes later is lost.
func Confirm(ctx context.Context, in io.Reader, out io.Writer, prompt string) (bool, error) {
	if _, err := fmt.Fprintf(out, "%s\nOnly yes is taken for an answer that goes on: ", prompt); err != nil {
		return false, err
	}
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := readLine(in)
		answers <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(out)
		return false, ctx.Err()
	case a := <-answers:
		if errors.Is(a.err, io.EOF) {
			fmt.Fprintln(out)
			a.err = nil
		}
		return a.err == nil && strings.TrimSpace(a.text) == "yes", a.err
	}
}

// readLine reads no further than the end of the line: what follows is for others.
func readLine(in io.Reader) (string, error) {
	var text []byte
	one := make([]byte, 1)
	for len(text) < 1024 {
		n, err := in.Read(one)
		if n == 1 && one[0] == '\n' {
			break
		}
		text = append(text, one[:n]...)
		if err != nil {
			return string(text), err
		}
	}
	return string(text), nil
}
