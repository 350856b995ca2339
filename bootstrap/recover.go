package bootstrap

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/provisionhq/provision/bootstrap/ssh"
)

// ReadFiles returns the content of the files that are there, by path, in one round trip. What it returns may be secret.
func ReadFiles(ctx context.Context, h ssh.Host, paths []string) (map[string][]byte, error) {
	script := `for f; do if [ -f "$f" ]; then printf '%s ' "$f"; base64 < "$f" | tr -d '\n'; echo; fi; done`
	res, err := h.Run(ctx, ssh.Command{Line: ssh.Quote(append([]string{"sh", "-c", script, "provision-read"}, paths...)...)})
	if err != nil {
		return nil, named(err, "read files")
	}
	files := map[string][]byte{}
	for line := range strings.Lines(string(res.Stdout)) {
		path, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue // an empty file
		}
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("read %s: what came is cut short", path)
		}
		files[path] = b
	}
	return files, nil
}
