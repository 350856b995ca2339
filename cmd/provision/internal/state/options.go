package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// Options says which state to open, and how.
type Options struct {
	Cluster    string // the cluster's name
	Command    string // what opens it, for the person who finds it locked: "provision apply cluster.hcl"
	ReadOnly   bool   // take no lease and write nothing
	AnyMachine bool   // accept a folder that was made on another machine
	Accept     bool   // accept a state that is older than one that was seen, and a place that it was moved away from
	Destroy    bool   // go on with a state that cannot be read: for who needs only the lease. What is there is put aside before the first write

	// Where it is. A Bucket has only this cluster's state in it; the State closes it. Below a URL each cluster has a part of
	// its name.
	Folder string        // empty: $XDG_STATE_HOME/provision/<Cluster>, by default below ~/.local/state
	URL    string        // s3://BUCKET/PREFIX?…, gs://…, azblob://… (see package bucket) or file:///FOLDER; wins over Folder
	Bucket bucket.Bucket // wins over URL
	Seen   string        // folder of what was last seen of each cluster; empty: $XDG_STATE_HOME/provision/.seen

	// Whom the secrets are encrypted to. Without any of these they are for the user's own identity.
	Identity      string                             // path of the age identity, or an SSH key; empty: $XDG_CONFIG_HOME/provision/identity.age, by default below ~/.config
	Recipients    []string                           // age or SSH public keys, plug-ins' too: all of these, and nobody else
	KeyCommand    []string                           // a program that wraps and unwraps the key, beside or instead of Recipients
	UsePassphrase bool                               // instead of all others
	Passphrase    func(confirm bool) (string, error) // asks for the passphrase, when it is new twice; nil: it cannot be asked for
	NewPassphrase func() (string, error)             // asks for the one that Rekey puts in its place; nil: it stays
	Ask           func(question string) (string, error)
	Message       func(text string) // shows what a plug-in has to say: touch your key; nil: on stderr nothing

	TTL      time.Duration // after so long without a renewal the lease ends; 0: 15 s
	Wait     time.Duration // how long to wait for a lease that somebody else holds
	Watching func(Holder)  // called once if it takes time to find out whether the holder is alive, or to wait
	Now      func() time.Time

	moving     bool // a place that a state was moved away from is no mistake
	Compare    bool // have Notices tell when the secrets are for others than these options name
	Sealed     bool // leave the secrets encrypted: for who only wants to know of the state
	workFactor int  // of a passphrase, for tests
	strange    bool // as if on another system than every other holder, for tests
	step       step // called between the parts of each write, for tests
}

// defaultTTL is how long a lease is good without being renewed. It is renewed about four times in that.
const defaultTTL = 15 * time.Second

func (o *Options) defaults() (err error) {
	if o.Cluster == "" || o.Cluster != filepath.Base(o.Cluster) || strings.HasPrefix(o.Cluster, ".") {
		return fmt.Errorf("the name %q cannot be the name of a state folder", o.Cluster)
	}
	if o.Folder, err = orUserFolder(o.Folder, "XDG_STATE_HOME", ".local/state", o.Cluster); err != nil {
		return err
	}
	if o.Seen, err = orUserFolder(o.Seen, "XDG_STATE_HOME", ".local/state", ".seen"); err != nil {
		return err
	}
	if o.Identity, err = orUserFolder(o.Identity, "XDG_CONFIG_HOME", ".config", identityName); err != nil {
		return err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TTL <= 0 {
		o.TTL = defaultTTL
	}
	o.Folder, err = filepath.Abs(o.Folder)
	return err
}

// orUserFolder is the path, or if it is empty that of a name in our part of one of the user's folders.
func orUserFolder(path, env, below, name string) (string, error) {
	if path != "" {
		return path, nil
	}
	dir, err := userFolder(env, below)
	return filepath.Join(dir, "provision", name), err
}

// userFolder is a folder of the XDG base directory specification, which says to ignore relative ones.
func userFolder(env, below string) (string, error) {
	if d := os.Getenv(env); filepath.IsAbs(d) {
		return d, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", &AccessError{Path: "the user's own folder", Err: fmt.Errorf("neither %s nor HOME is set", env)}
	}
	return filepath.Join(home, below), nil
}

// A step is called where a process may be stopped with something half done.
type step func()

func (s step) done() {
	if s != nil {
		s()
	}
}
