package state

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"filippo.io/age"
)

// A keyCommand is a program that wraps the key of a file, for example by a key-management service. It is run with one more
// argument, "wrap" or "unwrap". To wrap, it gets the key on standard input, in base64 on one line, and writes anything it
// likes on standard output; to unwrap, it gets that and writes the key as it was. PROVISION_CLUSTER and PROVISION_UID name the
// cluster, for a service that binds a key to a context. The key is that of one file, made anew each time it is written.
type keyCommand struct {
	argv  []string
	env   []string
	limit time.Duration
}

// stanza is the type of the key's wrapping in an age file.
const stanza = "provision-key-command"

func (s *State) keyCommand() keyCommand {
	return keyCommand{s.o.KeyCommand, []string{"PROVISION_CLUSTER=" + s.header.Cluster, "PROVISION_UID=" + s.header.UID}, time.Minute}
}

// Wrap implements age.Recipient.
func (k keyCommand) Wrap(key []byte) ([]*age.Stanza, error) {
	out, err := k.run("wrap", base64.StdEncoding.EncodeToString(key))
	if err == nil && len(bytes.TrimSpace(out)) == 0 {
		err = k.failed("wrap", "it printed nothing")
	}
	return []*age.Stanza{{Type: stanza, Body: out}}, err
}

// Unwrap implements age.Identity.
func (k keyCommand) Unwrap(all []*age.Stanza) ([]byte, error) {
	for _, s := range all {
		if s.Type != stanza {
			continue
		}
		out, err := k.run("unwrap", string(s.Body))
		if err != nil {
			return nil, err
		}
		key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(out)))
		if err != nil || len(key) != 16 {
			return nil, k.failed("unwrap", "what it printed is not the key that was wrapped")
		}
		return key, nil
	}
	return nil, age.ErrIncorrectIdentity
}

// run runs the program. Nothing that it prints on standard output is shown to anybody.
func (k keyCommand) run(verb, in string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), k.limit)
	defer cancel()
	c := exec.CommandContext(ctx, k.argv[0], append(k.argv[1:len(k.argv):len(k.argv)], verb)...)
	c.Env = append(os.Environ(), k.env...)
	c.Stdin = strings.NewReader(in + "\n")
	c.WaitDelay = time.Second
	var out, words bytes.Buffer
	c.Stdout, c.Stderr = &out, &words
	err := c.Run()
	switch {
	case ctx.Err() != nil:
		return nil, k.failed(verb, fmt.Sprintf("it did not end within %v", k.limit))
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return nil, k.failed(verb, "there is no such program")
	case err != nil:
		said := strings.TrimSpace(words.String())
		if i := strings.LastIndexByte(said, '\n'); i >= 0 {
			said = said[i+1:]
		}
		if strings.Contains(said, strings.TrimSpace(in)) {
			said = "" // it repeats what it was given
		}
		return nil, k.failed(verb, strings.TrimSuffix(err.Error()+": "+cut(said, 200), ": "))
	case out.Len() > 64<<10:
		return nil, k.failed(verb, "it printed more than 64 KiB")
	}
	return out.Bytes(), nil
}

func (k keyCommand) failed(verb, why string) error {
	return &KeyError{What: fmt.Sprintf("the key command `%s %s` failed", strings.Join(k.argv, " "), verb), Err: errors.New(why)}
}
