package templates

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// InvitationSchema is the version of Invitation's form.
const InvitationSchema = 1

// JoinDir is where an invited machine keeps its invitation until it is a node.
const JoinDir = "/var/lib/provision/join"

// An Invitation is what a new machine is told to become a node by itself, in its user data. It is as secret as its token, which is
// good for one node of that name, once, and until Expires. RenderUserData says how it is used.
type Invitation struct {
	Schema  int       `json:"schema"`
	Cluster string    `json:"cluster"`
	UID     string    `json:"uid"`     // of the cluster
	Name    string    `json:"name"`    // of the machine and its node
	CA      string    `json:"ca"`      // the cluster's certificate authority, PEM: nobody else is believed
	Servers []string  `json:"servers"` // host:port of the agents that serve, in the order to ask them
	Token   string    `json:"token"`   // ID.SECRET
	Expires time.Time `json:"expires"`
	Agent   string    `json:"agent"`  // SHA-256 of the node agent
	Bundle  string    `json:"bundle"` // its ID, which is the SHA-256 of all that it holds

	Labels map[string]string `json:"labels,omitempty"` // that the kubelet registers with
	Taints []Taint           `json:"taints,omitempty"` // that the kubelet registers with
}

// ParseInvitation reads what RenderUserData put into the user data. No error repeats its content.
func ParseInvitation(b []byte) (Invitation, error) {
	var i Invitation
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&i); err != nil {
		return Invitation{}, fmt.Errorf("parse invitation: %w", err)
	}
	return i, i.check()
}

// check refuses what could not lead to a node, and what would need quotes in a shell.
func (i Invitation) check() error {
	plain := func(s, letters string) bool {
		return s != "" && strings.Trim(s, letters) == ""
	}
	const small = "abcdefghijklmnopqrstuvwxyz0123456789"
	switch {
	case i.Schema != InvitationSchema:
		return fmt.Errorf("invitation: schema %d, this program knows %d", i.Schema, InvitationSchema)
	case !plain(i.Name, small+"-."), i.Cluster == "", i.UID == "":
		return errors.New("invitation: it names no machine or no cluster")
	case !plain(i.Token, small+"."), len(i.Token) != 23:
		return errors.New("invitation: its token is not six characters, a dot and sixteen")
	case !plain(i.Agent, small), len(i.Agent) != 64, !plain(i.Bundle, small), len(i.Bundle) != 64:
		return errors.New("invitation: it has no checksums")
	case !strings.HasPrefix(i.CA, "-----BEGIN CERTIFICATE-----\n"), strings.Contains(i.CA, "'"):
		return errors.New("invitation: it has no authority")
	case len(i.Servers) == 0:
		return errors.New("invitation: it names nobody to ask")
	}
	for _, s := range i.Servers {
		if !plain(s, small+"-.:[]") {
			return fmt.Errorf("invitation: %q is not host:port", s)
		}
	}
	return nil
}

// RenderUserData returns the script that makes a machine a node when its first boot runs it as root. It needs no more than what
// the smallest images of Debian and Ubuntu have: a POSIX shell, sha256sum, and curl, wget or Python. It fetches the node agent, and
// hands over to it when the checksum is right.
func RenderUserData(i Invitation) ([]byte, error) {
	i.Schema = InvitationSchema
	i.Expires = i.Expires.UTC().Truncate(time.Second)
	if err := i.check(); err != nil {
		return nil, err
	}
	doc, err := json.Marshal(i) // one line, and so no line that ends the document early
	if err != nil {
		return nil, err
	}
	return render("join.sh", struct {
		Invitation
		Dir, JSON, Agent string
	}{i, JoinDir, string(doc), i.Agent})
}
