package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func authorities(t *testing.T) *Authorities {
	t.Helper()
	a, err := NewAuthorities("demo", now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, l Leaf) (Pair, *x509.Certificate) {
	t.Helper()
	p, err := a.Issue(l, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCertificate(p.Cert)
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

func TestChain(t *testing.T) {
	a := authorities(t)
	leaf := Leaf{CommonName: "kube-apiserver", Names: []string{"kubernetes"}, Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, Usage: Server}
	_, c := issue(t, a.Cluster, leaf)
	verify := func(ca *Authority, usage x509.ExtKeyUsage, name string, at time.Time) error {
		roots := x509.NewCertPool()
		roots.AddCert(ca.Certificate())
		_, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}})
		return err
	}
	for _, test := range []struct {
		why   string
		ca    *Authority
		usage x509.ExtKeyUsage
		name  string
		at    time.Time
		ok    bool
	}{
		{"as issued", a.Cluster, x509.ExtKeyUsageServerAuth, "kubernetes", now, true},
		{"by address", a.Cluster, x509.ExtKeyUsageServerAuth, "10.96.0.1", now, true},
		{"clock behind", a.Cluster, x509.ExtKeyUsageServerAuth, "kubernetes", now.Add(-5 * time.Minute), true},
		{"other name", a.Cluster, x509.ExtKeyUsageServerAuth, "etcd", now, false},
		{"other address", a.Cluster, x509.ExtKeyUsageServerAuth, "10.96.0.2", now, false},
		{"as a client", a.Cluster, x509.ExtKeyUsageClientAuth, "", now, false},
		{"other authority", a.Etcd, x509.ExtKeyUsageServerAuth, "kubernetes", now, false},
		{"front proxy's authority", a.FrontProxy, x509.ExtKeyUsageServerAuth, "kubernetes", now, false},
		{"expired", a.Cluster, x509.ExtKeyUsageServerAuth, "kubernetes", now.Add(LeafLife + time.Minute), false},
	} {
		if err := verify(test.ca, test.usage, test.name, test.at); (err == nil) != test.ok {
			t.Errorf("%s: got %v, want ok %v", test.why, err, test.ok)
		}
	}
	if c.IsCA || c.KeyUsage&x509.KeyUsageCertSign != 0 {
		t.Error("a leaf may issue certificates")
	}
}

// TestHandshake is the whole of it between a real TLS server and client.
func TestHandshake(t *testing.T) {
	a := authorities(t)
	clock := func() time.Time { return now }
	pool := x509.NewCertPool()
	pool.AddCert(a.Cluster.Certificate())
	config := func(ca *Authority, l Leaf) *tls.Config {
		p, _ := issue(t, ca, l)
		cert, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "api", Time: clock}
	}
	server := config(a.Cluster, Leaf{CommonName: "api", Names: []string{"api"}, Usage: Server})
	for _, test := range []struct {
		why string
		ca  *Authority
		use Usage
		ok  bool
	}{
		{"a client", a.Cluster, Client, true},
		{"a server's certificate as client", a.Cluster, Server, false},
		{"a client of another authority", a.Etcd, Client, false},
	} {
		client := config(test.ca, Leaf{CommonName: "ann", Usage: test.use})
		serverErr, clientErr := shake(t, server, client)
		if (serverErr == nil) != test.ok {
			t.Errorf("%s: server %v, client %v, want ok %v", test.why, serverErr, clientErr, test.ok)
		}
	}
}

// shake lets a client write one byte to a server over loopback.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		far, err := l.Accept()
		if err == nil {
			_, err = io.Copy(io.Discard, tls.Server(far, server))
			far.Close()
		}
		done <- err
	}()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(near, client)
	_, clientErr = c.Write([]byte("x"))
	c.Close()
	return <-done, clientErr
}

func TestCurrent(t *testing.T) {
	a := authorities(t)
	leaf := Leaf{CommonName: "api", Organizations: []string{"g"}, Names: []string{"x"}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Usage: Server}
	p, _ := issue(t, a.Cluster, leaf)
	other, _ := issue(t, a.Cluster, leaf)
	change := func(f func(*Leaf)) Leaf { l := leaf; f(&l); return l }
	for _, test := range []struct {
		why  string
		ca   *Authority
		pair Pair
		leaf Leaf
		at   time.Time
		want bool
	}{
		{"fresh", a.Cluster, p, leaf, now, true},
		{"half its life left", a.Cluster, p, leaf, now.Add(LeafLife / 2), true},
		{"less than a third left", a.Cluster, p, leaf, now.Add(LeafLife*2/3 + time.Hour), false},
		{"expired", a.Cluster, p, leaf, now.Add(2 * LeafLife), false},
		{"one more address", a.Cluster, p, change(func(l *Leaf) {
			l.Addresses = append([]netip.Addr{netip.MustParseAddr("10.0.0.2")}, l.Addresses...)
		}), now, false},
		{"another name", a.Cluster, p, change(func(l *Leaf) { l.Names = []string{"y"} }), now, false},
		{"another group", a.Cluster, p, change(func(l *Leaf) { l.Organizations = nil }), now, false},
		{"another usage", a.Cluster, p, change(func(l *Leaf) { l.Usage = Client | Server }), now, false},
		{"another authority", a.Etcd, p, leaf, now, false},
		{"another's key", a.Cluster, Pair{p.Cert, other.Key}, leaf, now, false},
		{"no key", a.Cluster, Pair{p.Cert, nil}, leaf, now, false},
		{"nothing", a.Cluster, Pair{}, leaf, now, false},
	} {
		if got := test.ca.Current(test.pair, test.leaf, test.at); got != test.want {
			t.Errorf("%s: got %v, want %v", test.why, got, test.want)
		}
	}
}

func TestEncodeDecode(t *testing.T) {
	a := authorities(t)
	b, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	want, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.Files()
	if err != nil {
		t.Fatal(err)
	}
	for path := range want {
		if !bytes.Equal(got[path], want[path]) {
			t.Errorf("%s differs after Encode and Decode", path)
		}
	}
	if len(got) != len(want) || len(want) != 9 {
		t.Errorf("got %d files, want %d, which should be 9", len(got), len(want))
	}
}

func TestDecodeRefuses(t *testing.T) {
	b, err := authorities(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	var e encoded
	for _, test := range []struct {
		why    string
		damage func()
	}{
		{"another schema", func() { e.Schema = 2 }},
		{"a short encryption key", func() { e.Encryption = e.Encryption[:16] }},
		{"a key that is not the certificate's", func() { e.Cluster.Key = e.Etcd.Key }},
		{"no certificate", func() { e.Etcd.Cert = "" }},
		{"a damaged key", func() { e.FrontProxy.Key = strings.Replace(e.FrontProxy.Key, "M", "N", 1) }},
		{"no service account key", func() { e.ServiceAccount = "" }},
	} {
		e = encoded{}
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		test.damage()
		bad, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(bad); err == nil {
			t.Errorf("%s: decoded", test.why)
		} else if strings.Contains(err.Error(), "PRIVATE") || strings.Contains(err.Error(), "M") && len(err.Error()) > 300 {
			t.Errorf("%s: error repeats the input: %v", test.why, err)
		}
	}
	for _, bad := range []string{"", "{}", "[]", "age-encryption.org/v1"} {
		if _, err := Decode([]byte(bad)); err == nil {
			t.Errorf("decoded %q", bad)
		}
	}
}

// TestNothingSecretIsPrinted prints every type in every way that logs do.
func TestNothingSecretIsPrinted(t *testing.T) {
	a := authorities(t)
	p, _ := issue(t, a.Cluster, Leaf{CommonName: "x", Usage: Client})
	token, err := NewToken()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(p.Key)
	secrets := []string{"PRIVATE KEY", token.Secret, fmt.Sprint(block.Bytes[:8])[1:20], fmt.Sprintf("%x", block.Bytes[:8]), serviceAccount(t, a), string(p.Key[60:80])}
	kubeconfig := Kubeconfig{Server: "https://x", Pair: p, Token: token}
	for _, v := range []any{a, a.Cluster, p, &p, token, &token, kubeconfig, &kubeconfig, []any{p, token}, map[string]any{"x": a}, struct{ P Pair }{p}} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&log, verb, v)
		}
		for _, s := range secrets {
			if strings.Contains(log.String(), s) {
				t.Errorf("%T prints %.20q…: %.200s", v, s, log.String())
			}
		}
	}
}

func TestFiles(t *testing.T) {
	files, err := authorities(t).Files()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseAuthority(files[Dir+"/etcd/ca.crt"], files[Dir+"/etcd/ca.key"]); err != nil {
		t.Error(err)
	}
	var config struct {
		Kind      string
		Resources []struct {
			Resources []string
			Providers []map[string]struct{ Keys []struct{ Secret []byte } }
		}
	}
	if err := json.Unmarshal(files[Dir+"/encryption.json"], &config); err != nil {
		t.Fatal(err)
	}
	first := config.Resources[0].Providers[0]["secretbox"]
	if config.Kind != "EncryptionConfiguration" || config.Resources[0].Resources[0] != "secrets" || len(first.Keys[0].Secret) != 32 {
		t.Errorf("encryption configuration is %s", files[Dir+"/encryption.json"])
	}
}

func TestAdmin(t *testing.T) {
	a := authorities(t)
	p, err := a.Admin("ann@host", 30*24*time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCertificate(p.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject.CommonName != "ann@host" || fmt.Sprint(c.Subject.Organization) != "[provision:admins]" || !c.NotAfter.Equal(now.Add(30*24*time.Hour)) {
		t.Errorf("issued to %v until %v", c.Subject, c.NotAfter)
	}
	k, err := Kubeconfig{Cluster: "demo", Server: "https://10.0.0.1:6443", CA: a.Cluster.CertPEM(), User: "ann", Pair: p}.Render()
	if err != nil {
		t.Fatal(err)
	}
	var file kubeconfigFile
	if err := json.Unmarshal(k, &file); err != nil {
		t.Fatal(err)
	}
	if file.CurrentContext != "ann@demo" || !bytes.Equal(file.Users[0].User.Key, p.Key) || !bytes.Equal(file.Clusters[0].Cluster.CA, a.Cluster.CertPEM()) {
		t.Errorf("rendered %s", k)
	}
}

func TestLifeEndsWithTheAuthority(t *testing.T) {
	ca, err := NewAuthority("x", now)
	if err != nil {
		t.Fatal(err)
	}
	late := now.Add(AuthorityLife - time.Hour)
	p, err := ca.Issue(Leaf{CommonName: "x", Usage: Client}, late)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCertificate(p.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if c.NotAfter.After(ca.Certificate().NotAfter) {
		t.Error("a leaf outlives its authority")
	}
	if _, err := ca.Issue(Leaf{CommonName: "x", Usage: Client}, now.Add(AuthorityLife+time.Hour)); err == nil {
		t.Error("an expired authority issued a certificate")
	}
}

// serviceAccount returns the service account's private number, as a log would show it.
func serviceAccount(t *testing.T, a *Authorities) string {
	t.Helper()
	b, err := a.serviceAccount.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(b).String()
}
