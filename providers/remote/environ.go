package remote

import (
	"slices"
	"strings"
)

// Environ returns those variables of an environment that a plug-in gets: what any program needs (PATH, HOME, language,
// time zone, temporary and XDG folders, proxies, certificates), those that begin with its name in capitals, as RACK_TOKEN for
// the plug-in rack, and those that are named besides. All else stays here: tokens of other vendors, and the values of
// variables of cluster.hcl.
func Environ(name string, environ []string, besides ...string) []string {
	var passed []string
	for _, e := range environ {
		k, _, ok := strings.Cut(e, "=")
		if ok && (common(k) || strings.HasPrefix(k, strings.ToUpper(name)+"_") || slices.Contains(besides, k)) && !strings.HasPrefix(k, "PROVISION_") {
			passed = append(passed, e)
		}
	}
	return passed
}

// common says whether any program may need the variable and it is no secret of anybody.
func common(k string) bool {
	switch strings.ToUpper(k) {
	case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY":
		return true
	}
	switch k {
	case "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
		"SystemRoot", "SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TEMP", "TMP":
		return true
	}
	return strings.HasPrefix(k, "LC_")
}
