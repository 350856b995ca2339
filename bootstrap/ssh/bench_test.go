package ssh_test

import (
	"context"
	"testing"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
)

// BenchmarkDial makes connections to a scripted machine in this process: two handshakes' worth of cryptography each.
func BenchmarkDial(b *testing.B) {
	m := sshtest.New(sshtest.Options{})
	defer m.Close()
	pem, _ := newKey(b)
	keys, err := ssh.NewKeys(ssh.KeyOptions{PEM: [][]byte{pem}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		h, err := ssh.Dial(context.Background(), ssh.Options{Addr: "a", HostKeys: []string{m.HostKey()}, Through: m, Keys: keys})
		if err != nil {
			b.Fatal(err)
		}
		h.Close()
	}
}
