package providertest

import "reflect"

// scribble changes everything that v, a pointer, shares with its copies: the elements of its maps and slices.
func scribble(v any) { scribbleOn(reflect.ValueOf(v).Elem(), false) }

func scribbleOn(v reflect.Value, inside bool) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				scribbleOn(v.Field(i), inside)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			scribbleOn(v.Index(i), true)
		}
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.String && !v.IsNil() {
			for _, k := range v.MapKeys() {
				v.SetMapIndex(k, reflect.ValueOf("scribbled").Convert(v.Type().Elem()))
			}
		}
	case reflect.String:
		if inside {
			v.SetString("scribbled")
		}
	case reflect.Int, reflect.Uint8:
		if inside {
			v.SetZero()
		}
	}
}
