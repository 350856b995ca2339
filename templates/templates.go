// Package templates holds the files that provision writes, each with one typed render function.
package templates
