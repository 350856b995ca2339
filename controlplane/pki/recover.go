package pki

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// RecoverPaths are the files of Files that the authorities can be made from again.
func RecoverPaths() []string {
	var ps []string
	for _, f := range []string{"/ca.crt", "/ca.key", "/etcd/ca.crt", "/etcd/ca.key", "/front-proxy-ca.crt", "/front-proxy-ca.key", "/sa.key", "/encryption.json"} {
		ps = append(ps, Dir+f)
	}
	return ps
}

// Recover makes the authorities from what Files put on a control-plane node. Its errors name the file and repeat nothing
// of what it holds.
func Recover(files map[string][]byte) (*Authorities, error) {
	for _, p := range RecoverPaths() {
		if len(files[p]) == 0 {
			return nil, fmt.Errorf("%s is not there", p)
		}
	}
	a := &Authorities{}
	for _, each := range []struct {
		to   **Authority
		path string
	}{{&a.Cluster, "/ca"}, {&a.Etcd, "/etcd/ca"}, {&a.FrontProxy, "/front-proxy-ca"}} {
		ca, err := ParseAuthority(files[Dir+each.path+".crt"], files[Dir+each.path+".key"])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", Dir+each.path+".key", err)
		}
		*each.to = ca
	}
	key, err := parseKey(files[Dir+"/sa.key"])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Dir+"/sa.key", err)
	}
	a.serviceAccount = key
	if a.encryption, err = parseEncryption(files[Dir+"/encryption.json"]); err != nil {
		return nil, fmt.Errorf("%s: %w", Dir+"/encryption.json", err)
	}
	return a, nil
}

// parseEncryption reads the key of what encryptionConfig wrote.
func parseEncryption(b []byte) ([]byte, error) {
	var c struct {
		Resources []struct {
			Providers []struct {
				Secretbox *struct{ Keys []struct{ Secret string } }
			}
		}
	}
	if json.Unmarshal(b, &c) != nil {
		return nil, errors.New("it is not in the form that provision writes")
	}
	for _, r := range c.Resources {
		for _, p := range r.Providers {
			if p.Secretbox == nil || len(p.Secretbox.Keys) == 0 {
				continue
			}
			key, err := base64.StdEncoding.DecodeString(p.Secretbox.Keys[0].Secret)
			if err == nil && len(key) == 32 {
				return key, nil
			}
		}
	}
	return nil, errors.New("it holds no key that provision uses")
}
