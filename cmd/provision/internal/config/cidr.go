package config

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/gocty"
)

// cidrSubnet makes cidrsubnet(range, bits, n): the n-th part of a range whose prefix is so many bits longer.
func cidrSubnet() function.Function {
	return cidrFunction(2, func(p netip.Prefix, args []int) (string, error) {
		sub, err := subnet(p, args[0], args[1])
		return sub.String(), err
	}, "bits", "n")
}

// cidrHost makes cidrhost(range, n): the n-th address of a range; a negative n counts from its end.
func cidrHost() function.Function {
	return cidrFunction(1, func(p netip.Prefix, args []int) (string, error) {
		size, n := 1<<(32-p.Bits()), args[0]
		if n < 0 {
			n += size
		}
		if n < 0 || n >= size {
			return "", fmt.Errorf("%s has %d addresses and no number %d", p, size, args[0])
		}
		return offset(p.Masked().Addr(), n).String(), nil
	}, "n")
}

// cidrNetmask makes cidrnetmask(range): its mask as four numbers.
func cidrNetmask() function.Function {
	return cidrFunction(0, func(p netip.Prefix, _ []int) (string, error) {
		return offset(netip.AddrFrom4([4]byte{}), int(^uint32(0)<<(32-p.Bits()))).String(), nil
	})
}

// cidrFunction makes a function of an IPv4 range and of whole numbers.
func cidrFunction(numbers int, compute func(netip.Prefix, []int) (string, error), names ...string) function.Function {
	params := []function.Parameter{{Name: "range", Type: cty.String}}
	for _, n := range names[:numbers] {
		params = append(params, function.Parameter{Name: n, Type: cty.Number})
	}
	return function.New(&function.Spec{
		Params: params,
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			p, err := netip.ParsePrefix(args[0].AsString())
			if err != nil || !p.Addr().Is4() {
				return cty.NilVal, function.NewArgErrorf(0, "%q is no IPv4 range like 10.0.0.0/16", args[0].AsString())
			}
			ns := make([]int, numbers)
			for i := range ns {
				var n int32
				if err := gocty.FromCtyValue(args[i+1], &n); err != nil {
					return cty.NilVal, function.NewArgError(i+1, err)
				}
				ns[i] = int(n)
			}
			s, err := compute(p, ns)
			return cty.StringVal(s), err
		},
	})
}

func subnet(p netip.Prefix, bits, n int) (netip.Prefix, error) {
	if bits < 0 || p.Bits()+bits > 32 {
		return netip.Prefix{}, fmt.Errorf("%s has no room for %d more bits", p, bits)
	}
	if n < 0 || n >= 1<<bits {
		return netip.Prefix{}, fmt.Errorf("%d more bits make %d parts, and %d is none of them", bits, 1<<bits, n)
	}
	return netip.PrefixFrom(offset(p.Masked().Addr(), n<<(32-p.Bits()-bits)), p.Bits()+bits), nil
}

// offset returns the IPv4 address that is n after a.
func offset(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
	return netip.AddrFrom4(b)
}
