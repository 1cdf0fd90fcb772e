# Included by native/Makefile: the simulated driver.
fakegpu:
	@$(MAKE) --no-print-directory -s -C tests/fakegpu FAKEGPU_BUILD=$(abspath $(BUILD))/fakegpu
