"""Decides which nodes each gang gets, keeps tensor groups inside NVLink domains, and says why a gang does not fit."""
