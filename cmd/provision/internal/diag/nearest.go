package diag

import "strings"

// Nearest returns the one of the known words that somebody who wrote word most likely meant, or "" if none is near: the
// one with the fewest letters that differ, or else one that is a part of word. Of several it returns the first.
func Nearest(word string, known []string) string {
	best, limit := "", max(1, len([]rune(word))/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < limit {
			best, limit = k, d
		}
	}
	for _, k := range known {
		if best == "" && len(k) > 3 && strings.Contains(strings.ToLower(word), strings.ToLower(k)) {
			best = k
		}
	}
	return best
}

// DidYouMean is a sentence that begins with a space, or "" if none of the known words is near.
func DidYouMean(word string, known []string) string {
	if n := Nearest(word, known); n != "" {
		return ` Did you mean "` + n + `"?`
	}
	return ""
}

// List writes words as in a sentence: a, b and c.
func List(words []string) string {
	switch n := len(words); n {
	case 0:
		return "none"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// distance counts the letters to insert, delete, replace or swap with a neighbour to get from a to b.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last, next := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		next[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			next[j+1] = min(last[j+1]+1, next[j]+1, last[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(t)]
}
