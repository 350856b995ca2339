//go:build linux

package local

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// tableName is the network's table of packet filter rules in the host.
func tableName(link string) string { return "provision-" + link }

// A door is a port of a balancer that the outside is let in by.
type door struct {
	to netip.Addr
	providers.Rule
}

// writeRules sets the network's rules in one step: what leaves for the outside bears the host's address, and from outside
// come answers, what the network's rules let in, and what is for a balancer. Packets between machines never come here.
func writeRules(link string, ranges []netip.Prefix, allow []providers.Rule, doors []door) error {
	c, err := nftables.New()
	if err != nil {
		return kernelLacks("nftables (module nf_tables)", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName(link)}
	c.AddTable(t)
	c.DelTable(t) // the rules of before; adding first makes this never fail
	c.AddTable(t)

	nat := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	add := func(ch *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: all})
	}
	for _, cidr := range ranges {
		add(nat, inPrefix(sourceOffset, cidr), linkIs(expr.MetaKeyOIFNAME, expr.CmpOpNeq, link), []expr.Any{&expr.Masq{}})
	}

	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	into := linkIs(expr.MetaKeyOIFNAME, expr.CmpOpEq, link)
	add(forward, linkIs(expr.MetaKeyIIFNAME, expr.CmpOpEq, link), verdict(expr.VerdictAccept))
	add(forward, into, answers(), verdict(expr.VerdictAccept))
	for _, r := range allow {
		for _, from := range sources(r) {
			add(forward, into, from, port(r), verdict(expr.VerdictAccept))
		}
	}
	open := c.AddChain(&nftables.Chain{Name: doorsChain, Table: t})
	for _, d := range doors {
		for _, from := range sources(d.Rule) {
			add(open, inPrefix(destinationOffset, netip.PrefixFrom(d.to, 32)), from, port(d.Rule), verdict(expr.VerdictAccept))
		}
	}
	add(forward, into, []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: doorsChain}})
	add(forward, into, verdict(expr.VerdictDrop))
	if err := c.Flush(); err != nil {
		return kernelLacks("nftables with NAT (modules nf_tables, nft_masq, nft_ct)", err)
	}
	return nil
}

// doorsChain holds the rules of balancers, apart from the network's own.
const doorsChain = "balancers"

// sources returns a match for each range that the rule lets in, one that matches all if it names none.
func sources(r providers.Rule) [][]expr.Any {
	if len(r.Sources) == 0 {
		return [][]expr.Any{nil}
	}
	var all [][]expr.Any
	for _, s := range r.Sources {
		all = append(all, inPrefix(sourceOffset, s))
	}
	return all
}

// hasRules says whether the network has as many rules of its own as it should.
func hasRules(link string, ranges int, allow []providers.Rule) bool {
	c, err := nftables.New()
	if err != nil {
		return false
	}
	want := map[string]int{"postrouting": ranges, "forward": 4}
	for _, r := range allow {
		want["forward"] += len(sources(r))
	}
	for name, n := range want {
		t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName(link)}
		rules, err := c.GetRules(t, &nftables.Chain{Name: name, Table: t})
		if err != nil || len(rules) < n || len(rules) > n && name == "forward" { // a range that was given up may have left one
			return false
		}
	}
	return true
}

// removeRules removes the network's table. There need be none.
func removeRules(link string) error {
	c, err := nftables.New()
	if err != nil {
		return kernelLacks("nftables (module nf_tables)", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName(link)}
	c.AddTable(t)
	c.DelTable(t)
	return c.Flush()
}

// Offsets of addresses in an IPv4 header.
const (
	sourceOffset      = 12
	destinationOffset = 16
)

// inPrefix matches packets whose address at that offset of the IPv4 header is in the range.
func inPrefix(offset uint32, p netip.Prefix) []expr.Any {
	mask := binary.BigEndian.AppendUint32(nil, uint32(uint64(0xffffffff)<<(32-p.Bits())))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func linkIs(key expr.MetaKey, op expr.CmpOp, link string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: name}}
}

// answers matches packets of connections that are allowed already.
func answers() []expr.Any {
	bits := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: bits, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// port matches the rule's protocol and port.
func port(r providers.Rule) []expr.Any {
	protocol := byte(unix.IPPROTO_TCP)
	if r.Protocol == "udp" {
		protocol = unix.IPPROTO_UDP
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, uint16(r.Port))},
	}
}

func verdict(k expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: k}} }
