package gcptest

import (
	"regexp"
	"strings"
)

var (
	projectIn = regexp.MustCompile(`/projects/([a-z][a-z0-9:.-]*[a-z0-9])(?:[/:]|$)`)
	regionIn  = regexp.MustCompile(`/(?:zones|regions)/([a-z]+(?:-[a-z]+)+[0-9]+)(?:-[a-f])?(?:/|$)`)
)

// guest is the project that a request is for, if the cloud is to be anywhere and it is not the cloud's own; "" otherwise. The
// projects that have images stay what they are.
func (c *Cloud) guest(path string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.options.Anywhere {
		return ""
	}
	if m := regionIn.FindStringSubmatch(path); m != nil && c.things["global/regions/"+m[1]] == nil {
		for _, letter := range "abcdf" {
			c.furnishZone(m[1] + "-" + string(letter))
		}
	}
	m := projectIn.FindStringSubmatch(path)
	if m == nil || m[1] == Project || strings.HasSuffix(m[1], "-cloud") {
		return ""
	}
	return m[1]
}

// rename writes one project's name in place of another's, wherever a path or a text names it.
func rename(text, from, to string) string {
	if from == "" || to == "" {
		return text
	}
	if before, ends := strings.CutSuffix(text, "projects/"+from); ends {
		text = before + "projects/" + to
	}
	return strings.NewReplacer("projects/"+from+"/", "projects/"+to+"/", "projects/"+from+":", "projects/"+to+":",
		"projects/"+from+`"`, "projects/"+to+`"`, "projects/"+from+"'", "projects/"+to+"'", `"name":"`+from+`"`, `"name":"`+to+`"`).Replace(text)
}
