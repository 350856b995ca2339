package config

import (
	"errors"
	"testing"
)

func TestSetText(t *testing.T) {
	for _, tt := range []struct {
		name, src, want string
		block           BlockName
		err             error
	}{
		{"in the provider's block", "# ours\nprovider \"metal\" {\n  host \"a\" { # rack 1\n    address = \"10.0.0.1\"\n  }\n}\n",
			"# ours\nprovider \"metal\" {\n  host \"a\" { # rack 1\n    address  = \"10.0.0.1\"\n    host_key = \"ssh-ed25519 AAAA\"\n  }\n}\n", BlockName{"host", "a"}, nil},
		{"in a file of its own", "host \"b\" {\n  address = \"10.0.0.2\"\n}\n\nhost \"a\" {\n}\n",
			"host \"b\" {\n  address = \"10.0.0.2\"\n}\n\nhost \"a\" {\n  host_key = \"ssh-ed25519 AAAA\"\n}\n", BlockName{"host", "a"}, nil},
		{"without a label", "jump {\n}\n", "jump {\n  host_key = \"ssh-ed25519 AAAA\"\n}\n", BlockName{"jump", ""}, nil},
		{"no such block", "host \"b\" {\n}\n", "", BlockName{"host", "a"}, ErrNoBlock},
		{"two of them", "host \"a\" {\n}\nhost \"a\" {\n}\n", "", BlockName{"host", "a"}, ErrNoBlock},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := SetText([]byte(tt.src), tt.block, "host_key", "ssh-ed25519 AAAA")
			if !errors.Is(err, tt.err) || string(got) != tt.want {
				t.Errorf("got %v\n%s\nwant %v\n%s", err, got, tt.err, tt.want)
			}
		})
	}
}
