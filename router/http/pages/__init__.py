"""Pages and lists that the gateway answers itself, for everybody and for operators."""
