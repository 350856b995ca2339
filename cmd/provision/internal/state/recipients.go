package state

import (
	"fmt"
	"slices"
	"strings"
)

// compare says whether the secrets are for others than the options name.
func (s *State) compare() error {
	now := s.Recipients()
	if !s.o.Compare || len(now) == 0 {
		return nil
	}
	e := &RecipientsChangedError{Place: s.place.String(), Now: now, Named: s.o.named()}
	if s.o.own() {
		id, err := readIdentity(s.o, s.o.Identity)
		mine := func(r string) bool { return slices.Contains(id.public, r) }
		if err != nil || !slices.ContainsFunc(now, func(r string) bool { return !mine(r) }) {
			return nil // what else is wrong with the identity is said when it is needed
		}
		return e
	}
	if slices.Equal(plainKeys(e.Now), plainKeys(e.Named)) {
		return nil
	}
	return e
}

// named are the words for whom the options name; none for the user's own identity.
func (o Options) named() []string {
	if o.UsePassphrase {
		return toPassphrase
	}
	all := slices.Clone(o.Recipients)
	if len(o.KeyCommand) > 0 {
		all = append(all, commandPrefix+o.KeyCommand[0])
	}
	return all
}

// plainKeys are keys without the comments of SSH's, sorted.
func plainKeys(keys []string) []string {
	var all []string
	for _, k := range keys {
		if parts := strings.Fields(k); len(parts) > 2 && strings.HasPrefix(k, "ssh-") {
			k = parts[0] + " " + parts[1]
		}
		all = append(all, strings.TrimSpace(k))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A RecipientsChangedError says that the secrets are for others than the file names.
type RecipientsChangedError struct {
	Place string
	Now   []string // whom they are encrypted to
	Named []string // whom the file names; none: nobody
}

// Error names those that differ.
func (e *RecipientsChangedError) Error() string {
	now, named := plainKeys(e.Now), plainKeys(e.Named)
	without := func(all, those []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(k string) bool { return slices.Contains(those, k) })
	}
	text := fmt.Sprintf("the secrets of the state in %s are not encrypted to those whom the file names", e.Place)
	if len(named) == 0 {
		return fmt.Sprintf("the file names nobody who can read the secrets, and those of the state in %s are still encrypted to %s", e.Place, short(now))
	}
	if added := without(named, now); len(added) > 0 {
		text += "; not yet to " + short(added)
	}
	if gone := without(now, named); len(gone) > 0 {
		text += "; still to " + short(gone)
	}
	return text
}

// DiagnosticID is the diagnostic's name.
func (e *RecipientsChangedError) DiagnosticID() string { return "state-recipients" }

// Advice tells what to do.
func (e *RecipientsChangedError) Advice() (string, []string) {
	if len(e.Named) == 0 {
		return "That goes on as it is. Name them in the file again, or encrypt the secrets to your own identity alone:", []string{"provision state rekey"}
	}
	return "A plan does not change that. To encrypt them anew, as the file says:", []string{"provision state rekey"}
}
