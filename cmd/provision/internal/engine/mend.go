package engine

import (
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
)

// mend says what to do about what a vendor answered to a step, before the command is run again.
func mend(id diag.ID) string {
	switch id {
	case diag.NameTaken:
		return "Somebody else's object has the name: rename or remove that one, or give the cluster another name. "
	case diag.InUse:
		return "Find out with the vendor's own tools what uses it, most often something that was made there by hand, and remove that. "
	case diag.NotAccepted, diag.Unsupported:
		return "Change what the file asks for there. "
	case diag.PermissionMissing:
		return "Give the permission to the one whose credentials are used. "
	case diag.QuotaExceeded:
		return "Ask the vendor for more, remove what is not needed, or lower a count in the file. "
	case diag.OutOfCapacity:
		return "Choose another type or zone, or wait. "
	case diag.VendorNotAnswering:
		return "See whether this machine reaches the vendor, and what the vendor's status page says. "
	}
	return "Mend the cause. "
}

// mendLook says what to do about what a vendor answered when it was only asked what there is.
func mendLook(id diag.ID) string {
	switch id {
	case diag.VendorDenied:
		return "See who you are for the vendor, whether the credentials still hold, and whether account and region are those that you mean. "
	case diag.VendorNotAnswering:
		return "See whether this machine reaches the vendor, whether region and endpoint of the block are right, and what the vendor's status page says. "
	}
	return "See whether the region, and what else the block says, exists for this account. "
}

// mendProblem says, as the beginning of a sentence, what to do about what a vendor would refuse.
func mendProblem(p providers.Problem) string {
	switch p.Field {
	case "type":
		return "Name another machine type there, or zones that have this one"
	case "zone", "zones":
		return "Name zones that there are"
	case "image":
		return "Name another image"
	case "cidr":
		return "Name another range"
	case "name":
		return "Rename or remove at the vendor what has the name, or give the cluster another one"
	case "network":
		return "Mend that network at the vendor, or name another one"
	case "instance_profile", "cloud_agent_profile":
		return "Make that instance profile, or name one that there is"
	}
	return "Change what the file asks for there, or mend the cause at the vendor"
}
