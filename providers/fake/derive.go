package fake

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/provisionhq/provision/providers"
)

// hash spreads names evenly and alike in every process.
func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	x := h.Sum64() // its low bits alone are too much alike for names that end in a number
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// hostKey returns an ed25519 public key of the machine's own, as authorized_keys has it.
func hostKey(id providers.ID) string {
	seed := sha256.Sum256([]byte("host key of " + id))
	public := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	const algorithm = "ssh-ed25519"
	wire := binary.BigEndian.AppendUint32(nil, uint32(len(algorithm)))
	wire = append(wire, algorithm...)
	wire = binary.BigEndian.AppendUint32(wire, uint32(len(public)))
	wire = append(wire, public...)
	return algorithm + " " + base64.StdEncoding.EncodeToString(wire)
}

// publicRange holds the addresses of balancers that are reached from outside: a range that is nobody's, for tests.
func publicRange() netip.Prefix { return netip.MustParsePrefix("198.18.0.0/15") }

// freeAddress returns an address of the pool that nobody in the network has: where the seed's hash points to, or the
// next. Its first two and its last are kept for the network itself.
func (s *state) freeAddress(in providers.ID, pool netip.Prefix, seed string) (netip.Addr, error) {
	bits := min(pool.Addr().BitLen()-pool.Bits(), 32)
	room := uint64(1)<<bits - 3
	start := hash(seed) % room
	for i := range room {
		p := place{in, offset(pool.Addr(), 2+(start+i)%room)}
		if !s.taken[p] {
			return p.addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%w: all %d addresses of %s are taken", providers.Quota, room, pool)
}

// offset returns the n-th address after a.
func offset(a netip.Addr, n uint64) netip.Addr {
	b := a.As16()
	low := b[8:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)+n)
	if a.Is4() {
		return netip.AddrFrom16(b).Unmap()
	}
	return netip.AddrFrom16(b)
}

// freeRange returns a range of 65,536 addresses that overlaps none of the owner's networks: where the name's hash points
// to, or the next. Networks of two owners may overlap, as they do at vendors whose networks are apart.
func (s *state) freeRange(k providers.Key) (netip.Prefix, error) {
	const room = 16 // in 172.16.0.0/12
	start := hash(k.String())
	for i := range uint64(room) {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + (start+i)%room), 0, 0}), 16)
		if !s.overlaps(k.Owner, p) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("%w: the owner's networks leave no range free in 172.16.0.0/12", providers.Quota)
}

func (s *state) overlaps(owner providers.Owner, p netip.Prefix) bool {
	for id := range s.networks.owners[owner] {
		if s.networks.rows[id].Object.CIDR.Overlaps(p) {
			return true
		}
	}
	return false
}
