package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Schema is the version of the form that Encode writes.
const Schema = 1

// Authorities is everything that makes its bearer the owner of a cluster. It prints as "[secret]".
type Authorities struct {
	Cluster    *Authority // of Kubernetes' API: servers, nodes, components, people
	Etcd       *Authority // of etcd, and of nothing else
	FrontProxy *Authority // of the API server, towards the API servers that it fronts

	serviceAccount *ecdsa.PrivateKey
	encryption     []byte // 32 bytes
}

// NewAuthorities makes a cluster's authorities and keys. The name is the cluster's.
func NewAuthorities(name string, now time.Time) (*Authorities, error) {
	a := &Authorities{encryption: make([]byte, 32)}
	for _, each := range []struct {
		to   **Authority
		name string
	}{{&a.Cluster, name + " cluster CA"}, {&a.Etcd, name + " etcd CA"}, {&a.FrontProxy, name + " front proxy CA"}} {
		ca, err := NewAuthority(each.name, now)
		if err != nil {
			return nil, err
		}
		*each.to = ca
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make service account key: %w", err)
	}
	a.serviceAccount = key
	_, err = rand.Read(a.encryption)
	return a, err
}

// Format prints "[secret]", whatever the verb.
func (a *Authorities) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

// MarshalJSON writes "[secret]": Encode is what writes the authorities.
func (a *Authorities) MarshalJSON() ([]byte, error) { return []byte(`"[secret]"`), nil }

// encoded is the form that Encode writes.
type encoded struct {
	Schema         int       `json:"schema"`
	Cluster        encodedCA `json:"cluster"`
	Etcd           encodedCA `json:"etcd"`
	FrontProxy     encodedCA `json:"front_proxy"`
	ServiceAccount string    `json:"service_account"`
	Encryption     []byte    `json:"encryption"`
}

type encodedCA struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Encode returns everything in clear, as JSON, for the caller to encrypt.
func (a *Authorities) Encode() ([]byte, error) {
	e := encoded{Schema: Schema, Encryption: a.encryption}
	for _, each := range []struct {
		to *encodedCA
		ca *Authority
	}{{&e.Cluster, a.Cluster}, {&e.Etcd, a.Etcd}, {&e.FrontProxy, a.FrontProxy}} {
		key, err := each.ca.KeyPEM()
		if err != nil {
			return nil, err
		}
		*each.to = encodedCA{string(each.ca.CertPEM()), string(key)}
	}
	key, err := keyPEM(a.serviceAccount)
	if err != nil {
		return nil, err
	}
	e.ServiceAccount = string(key)
	return json.Marshal(e)
}

// Decode reads what Encode wrote. Its errors repeat nothing of what it read.
func Decode(b []byte) (*Authorities, error) {
	var e encoded
	if json.Unmarshal(b, &e) != nil {
		return nil, errors.New("decode authorities: not in the form that Encode writes")
	}
	if e.Schema != Schema {
		return nil, fmt.Errorf("decode authorities: schema %d, this program knows %d", e.Schema, Schema)
	}
	if len(e.Encryption) != 32 {
		return nil, errors.New("decode authorities: encryption key is damaged")
	}
	a := &Authorities{encryption: e.Encryption}
	for _, each := range []struct {
		to   **Authority
		name string
		ca   encodedCA
	}{{&a.Cluster, "cluster", e.Cluster}, {&a.Etcd, "etcd", e.Etcd}, {&a.FrontProxy, "front proxy", e.FrontProxy}} {
		ca, err := ParseAuthority([]byte(each.ca.Cert), []byte(each.ca.Key))
		if err != nil {
			return nil, fmt.Errorf("decode authorities: %s: %w", each.name, err)
		}
		*each.to = ca
	}
	key, err := parseKey([]byte(e.ServiceAccount))
	if err != nil {
		return nil, fmt.Errorf("decode authorities: service account: %w", err)
	}
	a.serviceAccount = key
	return a, nil
}

// Files returns what a control-plane node must have, by absolute path, in clear. Each is to be written with mode 0600.
// Other nodes get NodeFiles.
func (a *Authorities) Files() (map[string][]byte, error) {
	files := a.NodeFiles()
	files[Dir+"/etcd/ca.crt"] = a.Etcd.CertPEM()
	files[Dir+"/front-proxy-ca.crt"] = a.FrontProxy.CertPEM()
	for path, ca := range map[string]*Authority{"/ca.key": a.Cluster, "/etcd/ca.key": a.Etcd, "/front-proxy-ca.key": a.FrontProxy} {
		key, err := ca.KeyPEM()
		if err != nil {
			return nil, err
		}
		files[Dir+path] = key
	}
	key, err := keyPEM(a.serviceAccount)
	if err != nil {
		return nil, err
	}
	files[Dir+"/sa.key"] = key
	public, err := x509.MarshalPKIXPublicKey(a.serviceAccount.Public())
	if err != nil {
		return nil, err
	}
	files[Dir+"/sa.pub"] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	files[Dir+"/encryption.json"], err = encryptionConfig(a.encryption)
	return files, err
}

// NodeFiles returns what every node must have, by absolute path. Nothing in it is secret.
func (a *Authorities) NodeFiles() map[string][]byte {
	return map[string][]byte{Dir + "/ca.crt": a.Cluster.CertPEM()}
}

// Dir is where a node keeps certificates and keys.
const Dir = "/etc/kubernetes/pki"

// encryptionConfig tells the API server to encrypt Secrets with the key, and to read those that were written before.
func encryptionConfig(key []byte) ([]byte, error) {
	type object = map[string]any
	b, err := json.MarshalIndent(object{
		"apiVersion": "apiserver.config.k8s.io/v1",
		"kind":       "EncryptionConfiguration",
		"resources": []object{{
			"resources": []string{"secrets"},
			"providers": []object{
				{"secretbox": object{"keys": []object{{"name": "key1", "secret": base64.StdEncoding.EncodeToString(key)}}}},
				{"identity": object{}},
			},
		}},
	}, "", "  ")
	return append(b, '\n'), err
}

// Admin issues a client certificate for a person, whose name Kubernetes' audit log will show. The person is in the group
// provision:admins, which a binding makes cluster admins: unlike system:masters that can be taken back.
func (a *Authorities) Admin(person string, life time.Duration, now time.Time) (Pair, error) {
	return a.Cluster.Issue(Leaf{CommonName: person, Organizations: []string{"provision:admins"}, Usage: Client, Life: life}, now)
}
