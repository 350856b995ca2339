package awstest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"
)

// HostKey is the SSH host key of an instance that is on paper only, in authorized_keys format.
func HostKey(instance string) string {
	seed := sha256.Sum256([]byte(instance))
	pub := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	var blob []byte
	for _, field := range [][]byte{[]byte("ssh-ed25519"), pub} {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(field))), field...)
	}
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(blob)
}

// Console is what an instance has written on its serial console after cloud-init has run.
func Console(instance string) string {
	return "[    0.000000] Linux version 6.12.57+deb13-cloud-amd64\r\n" +
		"-----BEGIN SSH HOST KEY KEYS-----\r\n" + HostKey(instance) + " root@" + instance + "\r\n-----END SSH HOST KEY KEYS-----\r\n" +
		"[   12.345678] cloud-init[512]: Cloud-init v. 25.1 finished\r\n"
}

// SetConsole says what instances write on their consoles; empty: nothing yet.
func (c *Cloud) SetConsole(console func(instance string) string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.console = console
}

// consoleOutput answers GetConsoleOutput, in place of moto's, which is always the same.
func (c *Cloud) consoleOutput(r *Request) answer {
	c.mu.Lock()
	id := r.Form.Get("InstanceId")
	said := c.console(id)
	c.mu.Unlock()
	t := &tree{name: "GetConsoleOutputResponse", space: "http://ec2.amazonaws.com/doc/2016-11-15/", children: []*tree{
		{name: "requestId", text: "console"}, {name: "instanceId", text: id},
		{name: "timestamp", text: time.Now().UTC().Format(time.RFC3339)},
	}}
	if said != "" {
		t.children = append(t.children, &tree{name: "output", text: base64.StdEncoding.EncodeToString([]byte(said))})
	}
	return answer{status: http.StatusOK, body: t.bytes()}
}
