"""Problems that the experiment on the theorem is checked on."""
