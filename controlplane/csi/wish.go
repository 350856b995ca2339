package csi

import (
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

const (
	gib         = int64(1) << 30
	defaultSize = 10 // GiB of a volume of which no size is asked: what the large vendors' usual types take at least
)

// A size is how large a volume may be, in whole GiB: that is what vendors sell.
type size struct{ least, most int } // 0: any

// sizeOf reads a range.
func sizeOf(r *spec.CapacityRange) (size, error) {
	need, limit := r.GetRequiredBytes(), r.GetLimitBytes()
	switch {
	case need < 0 || limit < 0:
		return size{}, status.Error(codes.InvalidArgument, "a size is negative")
	case limit > 0 && need > limit:
		return size{}, status.Errorf(codes.InvalidArgument, "at least %d bytes are asked for, and at most %d", need, limit)
	case need > math.MaxInt64-gib:
		return size{}, status.Errorf(codes.OutOfRange, "%d bytes: there is no such volume", need)
	}
	s := size{int((need + gib - 1) / gib), int(limit / gib)}
	if limit > 0 && (s.most == 0 || s.least > s.most) {
		return size{}, status.Errorf(codes.OutOfRange, "volumes have whole GiB, of which there are none from %d to %d bytes", need, limit)
	}
	return s, nil
}

// has reports whether a volume of so many GiB is as large as asked for.
func (s size) has(gib int) bool { return gib >= s.least && (s.most == 0 || gib <= s.most) }

// choose returns how many GiB a new volume gets, of at least so many.
func (s size) choose(least int) (int, error) {
	n := max(s.least, least)
	if s.least == 0 && least == 0 {
		n = defaultSize
		if s.most > 0 {
			n = min(n, s.most)
		}
	}
	if s.most > 0 && n > s.most {
		return 0, status.Errorf(codes.OutOfRange, "at most %d GiB are asked for, and what the volume shall be a copy of has %d", s.most, n)
	}
	return n, nil
}

// wished reads what a volume of a storage class shall be: its type, whether it is encrypted, and what the vendor alone
// understands.
func wished(parameters map[string]string) (s providers.VolumeSpec, err error) {
	s.Tags = map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(parameters)) {
		v := parameters[k]
		switch {
		case strings.HasPrefix(k, sidecarPrefix):
			if t, ok := strings.CutPrefix(k, sidecarPrefix); ok && v != "" && len(v) <= longestTag {
				s.Tags[createdFor+t] = v
			}
		case k == "type":
			s.Type = v
		case k == "encrypted":
			if s.Encrypted, err = strconv.ParseBool(v); err != nil {
				return s, status.Errorf(codes.InvalidArgument, "parameter encrypted is %q: it must be true or false", v)
			}
		default:
			if s.Params == nil {
				s.Params = map[string]string{}
			}
			s.Params[k] = v
		}
	}
	return s, nil
}

// What the provisioner tells of the claim becomes tags, so that a person sees at the vendor what a volume is for. They are the
// names that other drivers use.
const (
	sidecarPrefix = "csi.storage.k8s.io/"
	createdFor    = "kubernetes.io/created-for/"
	longestTag    = 128
)

// zones returns the zones that a volume may be in, the best first; one that is "" if that does not matter. Where nothing is asked
// for, they are those in which the cluster has machines: in another, no pod could have the volume.
func (d *Driver) zones(ctx context.Context, r *spec.TopologyRequirement) ([]string, error) {
	if !d.zoned() {
		return []string{""}, nil
	}
	if len(r.GetPreferred())+len(r.GetRequisite()) == 0 {
		found, err := d.nodes.zones(ctx)
		if err != nil || len(found) == 0 {
			return []string{""}, err
		}
		return found, nil
	}
	known := d.o.Provider.Caps().Zones
	var found, asked []string
	for _, t := range append(slices.Clone(r.GetPreferred()), r.GetRequisite()...) {
		z := t.GetSegments()[templates.VolumeZone]
		asked = append(asked, z)
		if slices.Contains(known, z) && !slices.Contains(found, z) {
			found = append(found, z)
		}
	}
	if len(found) == 0 {
		return nil, status.Errorf(codes.ResourceExhausted, "no volume can be in zone %s: the vendor has %s", strings.Join(asked, ", "), strings.Join(known, ", "))
	}
	return found, nil
}

// checkCapabilities returns why a volume cannot be used so: it is a block device, and at one machine at a time.
func checkCapabilities(all []*spec.VolumeCapability) error {
	if len(all) == 0 {
		return missing("volume_capabilities")
	}
	for _, c := range all {
		if err := checkCapability(c); err != nil {
			return err
		}
	}
	return nil
}

func checkCapability(c *spec.VolumeCapability) error {
	switch m := c.GetAccessMode().GetMode(); m {
	case spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, spec.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
		spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
	default:
		return status.Errorf(codes.InvalidArgument, "access mode %s: a volume is at one node at a time (ReadWriteOnce, ReadWriteOncePod)", m)
	}
	switch {
	case c.GetBlock() == nil && c.GetMount() == nil:
		return missing("access_type")
	case c.GetBlock() != nil:
		return nil
	}
	if fs := c.GetMount().GetFsType(); fs != "" && fs != "ext4" && fs != "xfs" {
		return status.Errorf(codes.InvalidArgument, "file system %q: there are ext4 and xfs", fs)
	}
	return nil
}
